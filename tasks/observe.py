"""Wait out a slot of market time, and write down how the service was meanwhile."""

import json

from engine.errors import ServiceError
from engine.rollout.journal import RecordType
from tasks.wiring import Wiring

POLL_S = 0.3
GIVE_UP_AFTER = 10
"""Scrapes in a row without an answer before the service counts as dead."""


def observe(wiring: Wiring, stage_name: str, slot: int) -> None:
    """Scrape until the market has reached the end of the slot. Raises ServiceError if the service dies."""
    stage_state = wiring.state().stage(stage_name)
    if stage_state.slots_observed >= slot:
        return
    stage = wiring.plan.stage(stage_name)
    end_ns = wiring.slot_end_ns(stage, stage_state, slot)
    wait_for_market(wiring, end_ns, log=(stage_name, slot))
    body = {"slot": slot, "is_last": slot == stage.slot_count, "end_ns": end_ns}
    wiring.journal.append_once(f"{stage_name}/{slot}/observe", RecordType.SLOT_OBSERVED, body, stage=stage_name)


def wait_for_market(wiring: Wiring, until_ns: int, log: tuple[str, int] | None = None) -> None:
    """Let the market run to `until_ns` and return when it is there. A live market runs anyway."""
    wiring.service.play(until_ns)
    silent = 0
    while True:
        row = wiring.service.scrape()
        if log is not None:
            with wiring.ops_lines(*log).open("a") as file:
                file.write(json.dumps(row) + "\n")
        silent = 0 if row["scrape_ok"] else silent + 1
        if silent >= GIVE_UP_AFTER:
            raise ServiceError(f"the service did not answer {silent} times in a row: {row['error']}")
        if row["clock_ns"] is not None and row["clock_ns"] >= until_ns:
            return
        wiring.clock.sleep(POLL_S)
