"""A deployment happens on all twenty symbols or on none, whatever goes wrong, wherever among them it goes wrong.

    python -m benchmarks.partial [--count 20]

The real service, guardian and journal run in this process on a clock that is moved by hand (`one_process.py`). Each
case plants one fault (`partial_faults.py`, `partial_kills.py`) at one place, 0 to 19, and orders a deploy: in the first
stage, onto all symbols, or in the second, where half of them already run another candidate. After every command the
memory of the signal path is looked at: live arms, adopted versions, every row of the parameter table. It must be one
of: as before, the candidate on all symbols, the baseline on all. Where a deploy was not carried out, no stage clock may
be started, and within two looks of the guardian everything is on the baseline, with one outcome for each order. The
windows that close say the same as the memory.

`--count` is how many places are tried, evenly spread. `mixtures` and `clocks_started` must be 0, `broken` counts what
else was found; `carried_out` are cases whose fault did not keep the deploy from being done; `ticks_worst` is how many
looks of the guardian it took from the fault, or the order, to the baseline. Prints one JSON line last.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.partial_faults import IN_PARAMETERS
from benchmarks.partial_kills import IN_COMMANDS
from benchmarks.partial_scene import PLACES, STARTS, Scene
from engine.rollout.journal import RecordType
from engine.rollout.state import ROLLED_BACK
from engine.strategy.warm import warm_up

KINDS = IN_PARAMETERS | IN_COMMANDS
TICKS = 6
"""Looks of the guardian in which everything must be decided; a fault at the twentieth command comes in the fourth."""

BACK_WITHIN = 2
OUTCOMES = {
    RecordType.DEPLOY_ORDERED: (RecordType.DEPLOYED, RecordType.DEPLOY_REFUSED, RecordType.ROLLED_BACK),
    RecordType.ROLLBACK_ORDERED: (RecordType.ROLLED_BACK,),
    RecordType.KILL_ORDERED: (RecordType.KILLED,),
}


@dataclass
class Found:
    """What all cases showed."""

    cases: Counter[str] = field(default_factory=Counter)
    mixtures: list[str] = field(default_factory=list)
    clocks: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    carried_out: int = 0
    ticks_worst: int = 0


def run_case(kind: str, place: int, start: str, folder: Path, found: Found) -> None:
    """Plant one fault at one place, and see what becomes of it."""
    name = f"{kind} at {place}, {start}"
    scene = Scene(folder, start)
    back_at = None
    try:
        with KINDS[kind](scene, place):
            scene.order()
            for _ in range(TICKS):
                scene.tick()
                if scene.clock_starts_without_deploy():
                    found.clocks.append(name)
                if back_at is None and scene.state().outcome == ROLLED_BACK:
                    back_at = scene.ticks
            scene.check_windows()
        judge(scene, name, back_at, found)
    finally:
        scene.close()
    found.cases[kind] += 1
    found.mixtures += [f"{name}: {what}" for what in scene.mixtures]


def judge(scene: Scene, name: str, back_at: int | None, found: Found) -> None:
    """All new and then, ordered, all back; or all back already."""
    state, whole = scene.state(), scene.whole()
    if state.outcome is None:
        found.carried_out += 1
        if whole not in scene.carried_out or not state.stage(scene.stage).is_deployed:
            found.broken.append(f"{name}: neither deployed nor rolled back, but {whole}")
        scene.orders.order_rollback("ordered", "Ada")
        scene.fault_tick = scene.ticks + 1
        while back_at is None and scene.ticks < scene.fault_tick + BACK_WITHIN:
            scene.tick()
            back_at = scene.ticks if scene.state().outcome == ROLLED_BACK else None
    ticks = BACK_WITHIN + 1 if back_at is None else back_at - scene.fault_tick + 1
    found.ticks_worst = max(found.ticks_worst, ticks)
    if scene.state().outcome != ROLLED_BACK or ticks > BACK_WITHIN or scene.whole() not in ("baseline", "no process"):
        found.broken.append(f"{name}: {scene.whole()}, {scene.state().outcome}, after {ticks} ticks")
    scene.check_windows()
    found.broken += [f"{name}: {what}" for what in unanswered(scene)]


def unanswered(scene: Scene) -> list[str]:
    """Orders that have no outcome, or two."""
    wrong, open_orders = [], dict.fromkeys(OUTCOMES, 0)
    for record in scene.journal.records():
        for ordered, outcomes in OUTCOMES.items():
            if record.type in outcomes:
                is_own = not (ordered is RecordType.DEPLOY_ORDERED and record.type is RecordType.ROLLED_BACK)
                if open_orders[ordered] == 0 and is_own:
                    wrong.append(f"record {record.seq} {record.type.value} answers no order")
                open_orders[ordered] = 0
        if record.type in OUTCOMES:
            open_orders[record.type] += 1
    return wrong + [f"{ordered.value} has no outcome" for ordered, count in open_orders.items() if count]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=PLACES, help="places tried of the twenty")
    options = parser.parse_args()
    warm_up()
    found, started = Found(), time.monotonic()
    places = sorted({number * PLACES // options.count for number in range(options.count)})
    for kind in KINDS:
        for start in STARTS:
            for place in places:
                with tempfile.TemporaryDirectory(prefix="partial-") as scratch:
                    run_case(kind, place, start, Path(scratch), found)
        print(
            f"{kind}: {found.cases[kind]} cases, {len(found.mixtures)} mixtures, {len(found.broken)} broken",
            file=sys.stderr,
        )
    result = {
        "cases": found.cases.total(), "kinds": len(found.cases), "mixtures": len(found.mixtures),
        "clocks_started": len(found.clocks),
        "carried_out": found.carried_out, "broken": len(found.broken), "ticks_worst": found.ticks_worst,
        "symbols": PLACES, "places": len(places), "seconds": round(time.monotonic() - started, 1),
        "examples": (found.mixtures + found.clocks + found.broken)[:5],
    }  # fmt: skip
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
