"""Wait out a slot of market time, and write down how the service was meanwhile."""

import json
from collections.abc import Callable
from typing import TypeVar

from engine.errors import RefusedError, ServiceError
from engine.rollout.journal import RecordType
from tasks.wiring import Wiring

Answer = TypeVar("Answer")

POLL_S = 0.3
GIVE_UP_AFTER = 10
"""Scrapes in a row without an answer before the service counts as dead."""


def observe(wiring: Wiring, stage_name: str, slot: int) -> None:
    """Scrape until the market reaches the end of the slot.

    Raises ServiceError if the service or the rollout ends meanwhile, RefusedError before the stage has started.
    """
    stage_state = wiring.state().stage(stage_name)
    if stage_state.slots_observed >= slot:
        return
    stage = wiring.plan.stage(stage_name)
    if stage_state.start_ns is None:
        raise RefusedError(f"stage {stage_name} has not started in this attempt")
    end_ns = wiring.slot_end_ns(stage, stage_state, slot)
    wait_for_market(wiring, end_ns, log=(stage_name, slot))
    body = {"slot": slot, "is_last": slot == stage.slot_count, "end_ns": end_ns}
    wiring.note(stage_name, slot, "observe", type_=RecordType.SLOT_OBSERVED, body=body)


def wait_for_market(wiring: Wiring, until_ns: int, log: tuple[str, int] | None = None) -> None:
    """Let the market run to `until_ns` and return when it is there. A live market runs anyway."""
    if patiently(wiring, wiring.service.status)["end_ns"] is not None:
        patiently(wiring, lambda: wiring.service.play(until_ns))
    silent = 0
    while True:
        row = wiring.service.scrape()
        if log is not None:
            with wiring.ops_lines(*log).open("a") as file:
                file.write(json.dumps(row) + "\n")
        require_running(wiring)
        silent = 0 if row["scrape_ok"] else silent + 1
        if silent >= GIVE_UP_AFTER:
            raise ServiceError(f"the service did not answer {silent} times in a row: {row['error']}")
        if row["clock_ns"] is not None and row["clock_ns"] >= until_ns:
            return
        wiring.clock.sleep(POLL_S)


def patiently(wiring: Wiring, ask: Callable[[], Answer]) -> Answer:
    """Ask the service for something that may be asked twice. Raises ServiceError once it has not answered many times.

    Whether a service that does not answer has to go back is the guardian's to say, who looks each second.
    """
    for _ in range(GIVE_UP_AFTER - 1):
        try:
            return ask()
        except ServiceError:
            require_running(wiring)
            wiring.clock.sleep(POLL_S)
    return ask()


def require_running(wiring: Wiring) -> None:
    """Raise ServiceError once the rollout is being rolled back or over: there is nothing to wait for.

    Raises RefusedError once another attempt has begun.
    """
    state = wiring.state()
    if state.attempt != wiring.attempt:
        raise RefusedError("the rollout was re-armed meanwhile: this attempt is over")
    if state.is_aborted or state.outcome is not None:
        raise ServiceError(f"the rollout ended meanwhile: {state.reason or 'it is being rolled back'}")
