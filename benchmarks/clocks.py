"""Time cannot cheat: wall-clock jumps, summer time, suspend and reboot at random moments of stages.

    python -m benchmarks.clocks --count 1000

Each case is a simulated rollout of 24 days with the real orders, guardian and flow steps over a service whose market
clock is a real `VenueClock` fed with a fake machine clock. In three of four cases only the wall clock is touched: it
jumps by up to three days and by an hour either way; in the others the machine is also suspended and rebooted.
The last line is JSON. `ended_early` counts slots that ended more than TOLERANCE_S before their market time had passed
in truth, by a clock that nothing touches; `largest_error_s` is how far from their time slots ended in the first kind of
cases; `false_rollbacks_by_wall_clock` counts rollbacks in them. `slots` is how many ends were looked at, `breaks`
counts every invariant of `benchmarks/simulation/invariants.py`.
"""

import argparse
import json
import logging
import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import track

from benchmarks.simulation.crew import Parts
from benchmarks.simulation.faults import FaultyWorld
from benchmarks.simulation.people import Desk
from benchmarks.simulation.service import ModelService
from engine.adapters.live.venue_clock import EVERY_S, STEER_NS_PER_S, Measured, VenueClock
from engine.clock import NS_PER_MS, NS_PER_S
from engine.rollout.journal import Record, RecordType

PROCESSES = 2
WALL = ("wall_jump", "summer_time")
OUTAGE = (*WALL, "suspend", "power_loss")
MOST = 12
TOLERANCE_S = 0.5
ROUND_TRIP_NS = 20 * NS_PER_MS


@dataclass
class VenueService(ModelService):
    """A service whose market clock is the venue's time as the real adapter keeps it. Truth is `clock.elapsed_ns`."""

    venue: Any = None
    measured_ns: int = 0

    def market_ns(self) -> int:
        if self.venue is None:
            self._measure(is_first=True)
        elif self.clock.mono_ns() - self.measured_ns > EVERY_S * NS_PER_S:
            self._measure(is_first=False)
        return int(self.venue.now_ns())

    def boot(self, *, switched_off: bool) -> None:
        self.venue = None
        super().boot(switched_off=switched_off)

    def _measure(self, *, is_first: bool) -> None:
        """What `VenueTime` does: the first measurement sets the clock, later ones steer it; all are a bit off."""
        mono_ns = self.clock.mono_ns()
        off_by_ns = (mono_ns * 7919 % ROUND_TRIP_NS) - ROUND_TRIP_NS // 2
        offset_ns = self.clock.elapsed_ns - mono_ns + off_by_ns
        if is_first:
            self.venue = VenueClock(self.clock)
            self.venue.set(offset_ns)
        else:
            self.venue.steer(Measured(offset_ns, ROUND_TRIP_NS), STEER_NS_PER_S)
        self.measured_ns = mono_ns


@dataclass(frozen=True)
class Case:
    """What one rollout showed."""

    seed: int
    wall_only: bool
    slots: int
    ended_early: int
    largest_error_s: float
    rollbacks: int
    broken: str | None


class TimedWorld(FaultyWorld):
    """Compares every end of a slot with the truth."""

    def __init__(self, seed: int, wall_only: bool, days: float = 24.0) -> None:
        parts = Parts(service=VenueService, fail_share=0.0)
        super().__init__(seed, days, parts, WALL if wall_only else OUTAGE, MOST, Desk.approve)
        self.wall_only = wall_only
        self.errors_s: list[float] = []
        self.listeners.insert(0, self._time)

    def case(self) -> Case:
        """Run it."""
        result = self.run()
        early = sum(error_s < -TOLERANCE_S for error_s in self.errors_s)
        largest_s = max(map(abs, self.errors_s), default=0.0)
        return Case(self.seed, self.wall_only, len(self.errors_s), early, largest_s, result.rollbacks, result.broken)

    def _time(self, record: Record) -> None:
        if record.type is RecordType.SLOT_OBSERVED:
            end_ns = self.facts.slot_ns(record.stage, record.body["slot"])
            assert end_ns is not None
            self.errors_s.append((self.clock.elapsed_ns - end_ns) / NS_PER_S)


def case(seed: int) -> Case:
    """One case; every fourth has outages as well."""
    logging.disable(logging.CRITICAL)
    return TimedWorld(seed, wall_only=seed % 4 != 0).case()


def results(seeds: range, processes: int) -> Iterator[Case]:
    """Cases in the order of their seeds."""
    if processes == 1:
        yield from map(case, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(case, seeds, chunksize=4)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=PROCESSES)
    arguments = parser.parse_args()
    console = Console(stderr=True)
    seeds = range(arguments.seed, arguments.seed + arguments.count)
    found = list(track(results(seeds, arguments.processes), "cases", total=len(seeds), console=console))
    for one in found:
        if one.broken is not None:
            console.print(f"seed {one.seed}: {one.broken}", highlight=False, markup=False)
    wall = [one for one in found if one.wall_only]
    answer = {
        "cases": len(found), "ended_early": sum(one.ended_early for one in found),
        "largest_error_s": round(max((one.largest_error_s for one in wall), default=0.0), 3),
        "false_rollbacks_by_wall_clock": sum(one.rollbacks for one in wall),
        "breaks": sum(one.broken is not None for one in found), "slots": sum(one.slots for one in found),
        "seed": arguments.seed,
    }  # fmt: skip
    print(json.dumps(answer))
    return int(bool(answer["ended_early"] or answer["false_rollbacks_by_wall_clock"] or answer["breaks"]))


if __name__ == "__main__":
    raise SystemExit(main())
