"""Is a rollout as it should be? One sentence per check, none of them changes anything."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.adapters.journal_check import verify_folder
from engine.adapters.supervisor import guardian_is_alive
from engine.clock import NS_PER_S, Clock, SystemClock
from engine.errors import RefusedError, ServiceError
from engine.rollout.ports import Controlled
from engine.rollout.state import ROLLED_BACK, RolloutState
from engine.rollout.watch import HANG_S
from tasks.command_line import state_of
from tasks.safety import LOCK_S, UNUSABLE, patience, service_of

POLL_S = 0.1


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    is_ok: bool
    sentence: str


def checks(folder: Path, clock: Clock | None = None) -> list[Check]:
    """Look at everything once; what cannot be looked at is not healthy. Takes up to three seconds."""
    journal, state = _journal(folder)
    return [journal, *_service(service_of(folder), state, clock or SystemClock()), _guardian(folder, state)]


def _journal(folder: Path) -> tuple[Check, RolloutState | None]:
    try:
        with patience(LOCK_S):
            checked = verify_folder(folder)
        state = state_of(folder)
    except UNUSABLE as error:
        return Check("journal", False, f"{error}"), None
    return Check("journal", True, f"{checked.records} records follow from one another, {checked.anchors} anchors "
                                  "fit them"), state  # fmt: skip


def _service(service: Controlled, state: RolloutState | None, clock: Clock) -> Iterator[Check]:
    try:
        status = service.status()
        yield Check("service", True, f"answers, market clock {status['clock_ns']}")
        yield _progress(service, status, clock)
    except (ServiceError, RefusedError) as error:
        yield Check("service", False, f"{error}")
        return
    yield _live(status, state)
    yield _lease(status)
    yield _latch(status, state)


def _progress(service: Controlled, status: dict[str, Any], clock: Clock) -> Check:
    """Every symbol's market moves, unless it has come to where it was allowed to go."""
    started_ns = clock.mono_ns()
    before = int(status["health"]["slowest_symbol_ns"])
    while (clock.mono_ns() - started_ns) / NS_PER_S < HANG_S:
        slowest = int(status["health"]["slowest_symbol_ns"])
        if status["end_ns"] is not None and slowest >= min(status["horizon_ns"], status["end_ns"]):
            return Check("progress", True, "the market stands where it was told to wait")
        if slowest > before:
            return Check("progress", True, "the market of every symbol moves")
        clock.sleep(POLL_S)
        status = service.status()
    return Check("progress", False, f"the slowest symbol's market has not moved for {HANG_S:.0f} s")


def _live(status: dict[str, Any], state: RolloutState | None) -> Check:
    live = sorted(symbol for symbol, found in status["live"].items() if found != status["stable"])
    said = ", ".join(live) or "no symbol"
    if state is None:
        return Check("live", not live, f"{said} runs the candidate, and no journal says whether it should")
    wanted = sorted(state.desired())
    if live != wanted:
        return Check("live", False, f"{said} runs the candidate; ordered is {', '.join(wanted) or 'no symbol'}")
    return Check("live", True, f"{said} runs the candidate, as ordered")


def _lease(status: dict[str, Any]) -> Check:
    lease = status["lease"]
    age = "was never renewed" if lease["age_s"] is None else f"was renewed {lease['age_s']:.1f} s ago"
    is_needed = any(found != status["stable"] for found in status["live"].values())
    if lease["is_live"]:
        return Check("lease", True, f"live; it {age}, and lasts {lease['ttl_s']:.0f} s")
    return Check("lease", not is_needed, f"not live; it {age}" + ("" if is_needed else ", and nothing needs it"))


def _latch(status: dict[str, Any], state: RolloutState | None) -> Check:
    """A latch is as it should be where the journal knows of the rollback."""
    latch = status["latch"]
    if latch is None:
        return Check("latch", True, "none")
    is_known = state is not None and state.outcome == ROLLED_BACK
    return Check("latch", is_known, f"{latch['cause']}: {latch['reason']}; graygate rearm lets a new attempt begin")


def _guardian(folder: Path, state: RolloutState | None) -> Check:
    if guardian_is_alive(folder):
        return Check("guardian", True, "alive")
    is_needed = state is None or state.outcome is None or bool(state.desired())
    why = "graygate resume starts it" if is_needed else "nothing is live that it would watch"
    return Check("guardian", not is_needed, f"not running; {why}")
