"""Simulated rollouts of 24 days under random faults, with the real guardian, flow steps, orders and journal.

    python -m benchmarks.simulate --count 10000

Every rollout is one seed and one history; the invariants of `benchmarks/simulation/invariants.py` are checked after
every event. The last line is JSON; `breaks` must be 0. `--replay SEED` runs one history and prints its SHA-256, over
the event log and the journal's bytes. `noise_rollbacks` is of further rollouts, a tenth as many, that have trouble of
the control plane only: it must be 0 as well.
"""

import argparse
import json
import logging
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import track

from benchmarks.simulation.crew import Parts
from benchmarks.simulation.faults import ALL, NOISE, FaultyWorld
from benchmarks.simulation.history import Result
from benchmarks.simulation.invariants import i14_noise_does_not_roll_back
from benchmarks.simulation.people import Desk

PROCESSES = 2
BATCH = 8
NOISE_EVERY = 10


def one(seed: int) -> Result:
    """One rollout with faults of every kind."""
    return FaultyWorld(seed, kinds=ALL).run()


def noisy(seed: int) -> Result:
    """One rollout whose evidence is good, whose people say yes, and whose control plane is in trouble."""
    world = FaultyWorld(seed, parts=Parts(fail_share=0.0), kinds=NOISE, answer=Desk.approve)
    result = world.run()
    if result.broken is None:
        found = i14_noise_does_not_roll_back(world.facts)
        if found is not None:
            result.broken = f"{i14_noise_does_not_roll_back.__name__}: {found}"
            result.excerpt = world.excerpt()
    return result


def run_one(job: tuple[int, bool]) -> Result:
    """One job of `jobs`, wherever it runs."""
    logging.disable(logging.CRITICAL)
    seed, is_noisy = job
    return noisy(seed) if is_noisy else one(seed)


def jobs(seed: int, count: int) -> list[tuple[int, bool]]:
    """Seeds, and whether a rollout has noise only."""
    return [(number, False) for number in range(seed, seed + count)] + [
        (number, True) for number in range(seed, seed + max(1, count // NOISE_EVERY))
    ]


def results(work: list[tuple[int, bool]], processes: int = PROCESSES) -> Iterator[Result]:
    """Results in the order of the work."""
    if processes == 1:
        yield from map(run_one, work)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(run_one, work, chunksize=BATCH)


def summary(found: Iterable[Result], seed: int, count: int, console: Console) -> dict[str, Any]:
    """Add the results up; say what breaks as it is found."""
    started = time.monotonic()
    breaks = events = noise_rollbacks = rollouts = 0
    days, outcomes, faults = 0.0, Counter[str](), Counter[str]()
    for place, result in enumerate(found):
        is_noisy = place >= count
        noise_rollbacks += result.rollbacks if is_noisy else 0
        rollouts, days, events = rollouts + 1, days + result.days, events + result.events
        outcomes[result.outcome] += 1
        faults += result.faults
        if result.broken is not None:
            breaks += 1
            tell(result, "noise" if is_noisy else "all faults", console)
    return {
        "rollouts": rollouts, "days": round(days), "breaks": breaks, "seed": seed, "noise_rollbacks": noise_rollbacks,
        "seconds": round(time.monotonic() - started, 1), "events": events, "by_outcome": dict(sorted(outcomes.items())),
        "by_fault": dict(sorted(faults.items())),
    }  # fmt: skip


def tell(result: Result, what: str, console: Console) -> None:
    """Seed, event, invariant, and the end of the journal."""
    console.print(f"seed {result.seed} ({what}), event {result.events}: {result.broken}", highlight=False)
    for line in result.excerpt:
        console.print(f"  {line}", highlight=False, soft_wrap=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", type=int, metavar="SEED")
    parser.add_argument("--noise", action="store_true", help="replay the rollout of that seed that has noise only")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    arguments = parser.parse_args()
    console = Console(stderr=True)
    if arguments.replay is not None:
        result = run_one((arguments.replay, arguments.noise))
        if result.broken is not None:
            tell(result, "replay", console)
        print(json.dumps({"seed": result.seed, "sha256": result.sha256, "events": result.events,
                          "outcome": result.outcome, "broken": result.broken}))  # fmt: skip
        return int(result.broken is not None)
    work = jobs(arguments.seed, arguments.count)
    found = track(results(work, arguments.processes), "simulated rollouts", total=len(work), console=console)
    answer = summary(found, arguments.seed, arguments.count, console)
    print(json.dumps(answer))
    return int(answer["breaks"] > 0)


if __name__ == "__main__":
    raise SystemExit(main())
