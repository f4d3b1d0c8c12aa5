"""Who wins when people, flows and the guardian act on the same stage at the same moment.

    python -m benchmarks.interleave --count 10000

Each interleaving takes a stage to the point where a person is asked, and then lets some of these happen within a few
milliseconds of each other: approve, advance (the flow that waits), retry (another flow, a slot done again), abort (by a
person, a flow and the guardian), kill, hold and re-arm. Every one is the real code, and after every single operation on
the journal's disk or command to the service another may go on. The last line is JSON: `advances_after_abort` and
`self_restarts` must be 0, and so must `breaks`, which counts every invariant of `benchmarks/simulation/invariants.py`.
`aborted` and `advanced` say how often each of the two came first.
"""

import argparse
import json
import logging
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from rich.console import Console
from rich.progress import track

from benchmarks.simulation.crew import Parts
from benchmarks.simulation.flow import SimFlow
from benchmarks.simulation.invariants import Broken
from benchmarks.simulation.people import Desk
from benchmarks.simulation.plan import spec
from benchmarks.simulation.world import World
from engine.clock import NS_PER_S
from engine.errors import ServiceError
from engine.rollout.journal import Record, RecordType
from engine.rollout.spec import RolloutSpec
from tasks.act import roll_back_after_error

PROCESSES = 2
STAGE_S = 3600
TOGETHER_S = (0.004, 0.02, 0.6)
AFTER_S = 12.0
ABORTS = (RecordType.ROLLBACK_ORDERED, RecordType.KILL_ORDERED)
UP = (RecordType.ADVANCED, RecordType.PROMOTED, RecordType.DEPLOY_ORDERED)


@dataclass(frozen=True)
class Race:
    """How one interleaving ended."""

    seed: int
    aborted: bool
    advanced: bool
    advances_after_abort: int
    self_restarts: int
    broken: str | None
    actors: tuple[str, ...]


def short_spec() -> RolloutSpec:
    """The shipped rollout with stages of one slot of an hour."""
    whole = spec()
    stages = tuple(replace(stage, observe_s=STAGE_S, cadence_s=STAGE_S) for stage in whole.plan.stages)
    return replace(whole, plan=replace(whole.plan, stages=stages))


class RacingWorld(World):
    """A world that is interrupted after every operation."""

    def __init__(self, seed: int, parts: Parts | None = None) -> None:
        super().__init__(seed, parts=replace(parts or Parts(fail_share=0.0), spec=short_spec(), pause_every=0.0))
        self.chance = Random(f"{seed}/race")
        self.asked = False
        self.listeners.append(self._hear)

    def race(self) -> Race:
        """Take a stage to its question, let everybody act at once, and look at what came of it."""
        actors = self.chance.choices(tuple(ACTORS), k=self.chance.randint(2, 6))
        broken = None
        try:
            self.begin()
            while not self.asked:
                self.live_until(self.hub.now_ns() + STAGE_S * NS_PER_S // 2)
            self._start(actors)
            self.live_until(self.hub.now_ns() + round(AFTER_S * NS_PER_S))
            self.settle()
        except Broken as found:
            broken = str(found)
        finally:
            self.hub.close()
        return self._judged(tuple(actors), broken)

    def _start(self, actors: Sequence[str]) -> None:
        within_s = self.chance.choice(TOGETHER_S)
        for name in actors:
            act = ACTORS[name]
            self.hub.plan(self.chance.random() * within_s, lambda act=act: act(self))  # type: ignore[misc]
        if self.chance.random() < 0.3:
            self.hub.plan(self.chance.random() * AFTER_S, lambda: self.person(Desk.rearm))

    def _hear(self, record: Record) -> None:
        self.asked |= record.type is RecordType.APPROVAL_REQUESTED

    def _judged(self, actors: tuple[str, ...], broken: str | None) -> Race:
        records = self.facts.records
        kinds = [record.type for record in records]
        late = after_abort(records)
        return Race(
            self.seed, any(is_abort(record) for record in records), RecordType.ADVANCED in kinds,
            late[RecordType.ADVANCED] + late[RecordType.PROMOTED], late[RecordType.DEPLOY_ORDERED], broken, actors,
        )  # fmt: skip


def is_abort(record: Record) -> bool:
    """Whether a record orders everything back."""
    return record.type in ABORTS and record.body["symbols"] is None


def after_abort(records: Sequence[Record]) -> Counter[RecordType]:
    """What was written after an abort that nobody re-armed."""
    found, is_aborted = Counter[RecordType](), False
    for record in records:
        is_aborted = (is_aborted or is_abort(record)) and record.type is not RecordType.REARMED
        found[record.type] += is_aborted
    return found


def _flow_aborts(flow: SimFlow) -> None:
    roll_back_after_error(flow.wiring, "10pct", ServiceError("a step could not be done"))


def _trip(world: RacingWorld) -> None:
    world.service.trip("loss", "lost too much")
    world.hub.change()


def _by_person(act: Callable[[Desk], None]) -> Callable[[RacingWorld], object]:
    return lambda world: world.person(act)


ACTORS: dict[str, Callable[[RacingWorld], object]] = {
    "approve": _by_person(Desk.approve),
    "approve again": _by_person(Desk.approve),
    "answer": _by_person(Desk.answer),
    "retry": lambda world: world.start_flow("retry", waits=False),
    "slot again": lambda world: world.start_flow("again", waits=False, work=lambda flow: flow.work_on("10pct", 1)),
    "abort by a person": _by_person(Desk.roll_back),
    "abort by a flow": lambda world: world.start_flow("aborting", waits=False, work=_flow_aborts),
    "abort by the guardian": _trip,
    "one symbol back": _by_person(lambda desk: desk.roll_back(some=True)),
    "kill": _by_person(Desk.kill),
    "kill one": _by_person(lambda desk: desk.kill(some=True)),
    "hold": _by_person(Desk.hold),
    "re-arm": _by_person(Desk.rearm),
    "another guardian": lambda world: world.start_guardian(),
}


def race(seed: int) -> Race:
    """One interleaving."""
    logging.disable(logging.CRITICAL)
    return RacingWorld(seed).race()


def results(seeds: range, processes: int) -> Iterator[Race]:
    """Interleavings in the order of their seeds."""
    if processes == 1:
        yield from map(race, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(race, seeds, chunksize=16)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=PROCESSES)
    arguments = parser.parse_args()
    console = Console(stderr=True)
    seeds, answer = range(arguments.seed, arguments.seed + arguments.count), Counter[str]()
    for found in track(results(seeds, arguments.processes), "interleavings", total=len(seeds), console=console):
        answer["aborted"] += found.aborted
        answer["advanced"] += found.advanced
        answer["advances_after_abort"] += found.advances_after_abort
        answer["self_restarts"] += found.self_restarts
        answer["breaks"] += found.broken is not None
        if found.broken is not None:
            console.print(f"seed {found.seed} {list(found.actors)}: {found.broken}", highlight=False, markup=False)
    zeros = {name: answer[name] for name in ("advances_after_abort", "self_restarts", "breaks")}
    counts = {"aborted": answer["aborted"], "advanced": answer["advanced"]}
    print(json.dumps({"interleavings": len(seeds), **zeros, "seed": arguments.seed, **counts}))
    return int(any(zeros.values()))


if __name__ == "__main__":
    raise SystemExit(main())
