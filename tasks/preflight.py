"""Is everything there that the stage needs? Refuses with a sentence; changes nothing."""

from engine.clock import NS_PER_S
from engine.errors import RefusedError, ServiceError
from engine.rollout.journal import RecordType
from tasks.observe import patiently
from tasks.wiring import Wiring

SWITCHES_S = 60.0
POLL_S = 0.1


def preflight(wiring: Wiring, stage_name: str) -> None:
    """Check service, earlier stage and market time once per stage. Raises RefusedError, ServiceError."""
    state = wiring.state()
    if state.stage(stage_name).start_ns is not None:
        return
    if state.outcome is not None:
        raise RefusedError(f"the rollout is over ({state.outcome}); a new candidate is a new rollout")
    names = [stage.name for stage in wiring.plan.stages]
    before = names[: names.index(stage_name)]
    waiting = [name for name in before if not state.stage(name).advanced]
    if waiting:
        raise RefusedError(f"stage {stage_name} may start only after {waiting[0]} has advanced")
    _wait_for_switches(wiring)
    status = patiently(wiring, wiring.service.status)
    if status["stable"] != wiring.spec.baseline.fingerprint:
        raise RefusedError(
            f"the service runs stable parameters {status['stable']}, "
            f"the rollout was planned against {wiring.spec.baseline.fingerprint}"
        )
    missing = sorted(set(wiring.spec.symbols[stage_name]) - set(status["live"]))
    if missing:
        raise RefusedError(f"symbol {missing[0]} of stage {stage_name} is not served")
    body = {"service": "answers", "stable": status["stable"], "symbols": list(wiring.spec.symbols[stage_name])}
    wiring.note(stage_name, "preflight", type_=RecordType.PREFLIGHT_PASSED, body=body)


def _wait_for_switches(wiring: Wiring) -> None:
    """After a restart on the baseline the guardian starts the service without the switches, once it is re-armed."""
    deadline_ns = wiring.clock.mono_ns() + round(SWITCHES_S * NS_PER_S)
    while wiring.state().is_switched_off:
        if wiring.clock.mono_ns() > deadline_ns:
            raise ServiceError("the service still runs with the rollback switches; is the guardian running?")
        wiring.clock.sleep(POLL_S)
