"""Order the stage's deploy and wait for the guardian, who drills and deploys; then start the stage's clock."""

from engine.clock import NS_PER_S
from engine.errors import RefusedError, ServiceError
from engine.rollout.plan import Stage
from tasks.observe import patiently, require_running, wait_for_market
from tasks.wiring import Wiring

GUARDIAN_S = 60.0
"""How long the guardian may take. A service that hangs meanwhile is restarted within this time."""
POLL_S = 0.05


def deploy(wiring: Wiring, stage_name: str) -> None:
    """Bring the service to the stage, once. Raises ServiceError with nothing of the stage live, RefusedError."""
    if wiring.state().stage(stage_name).start_ns is not None:
        return
    stage = wiring.plan.stage(stage_name)
    if not wiring.state().stage(stage_name).is_deployed:
        wait_for_market(wiring, _earliest_start_ns(wiring))
        _hold_if_not_whole(wiring, stage_name)
        wiring.orders.order_deploy(stage_name, wiring.spec.symbols[stage_name])
        _wait_for_guardian(wiring, stage_name)
    _start_clock(wiring, stage)


def _hold_if_not_whole(wiring: Wiring, stage_name: str) -> None:
    """A symbol of the stage that a person took off the candidate waits for a person. Raises RefusedError."""
    state = wiring.state()
    off = sorted((state.set_back | state.killed) & set(wiring.spec.symbols[stage_name]))
    if off:
        reason = f"{off[0]} of stage {stage_name} was taken off the candidate; graygate rearm allows it again"
        wiring.orders.hold(reason, "auto:rollout")
        raise RefusedError(reason)


def _wait_for_guardian(wiring: Wiring, stage_name: str) -> None:
    deadline_ns = wiring.clock.mono_ns() + round(GUARDIAN_S * NS_PER_S)
    while not wiring.state().stage(stage_name).is_deployed:
        require_running(wiring)
        _hold_if_not_whole(wiring, stage_name)
        if wiring.clock.mono_ns() > deadline_ns:
            raise ServiceError(
                f"no guardian carried out the deploy within {GUARDIAN_S:.0f} s; is engine.guard running?"
            )
        wiring.clock.sleep(POLL_S)


def _start_clock(wiring: Wiring, stage: Stage) -> None:
    """The stage lasts from the next whole window on; only a verified deploy starts it."""
    window_ns = wiring.plan.measurement_window_s * NS_PER_S
    start_ns = -(-int(patiently(wiring, wiring.service.status)["clock_ns"]) // window_ns) * window_ns
    started = {"start_ns": start_ns, "end_ns": start_ns + stage.observe_s * NS_PER_S}
    wiring.orders.start_clock(stage.name, started)


def _earliest_start_ns(wiring: Wiring) -> int:
    """Stages follow each other in market time, also when the service was started anew in between."""
    ends = [stage.end_ns for stage in wiring.state().stages if stage.end_ns is not None]
    return max([wiring.spec.market_start_ns, *ends])
