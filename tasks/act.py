"""Do what was decided, and write it down: advance, hold, roll back, or go on observing."""

from engine.errors import GraygateError
from engine.rollout.decision import Action, decide
from engine.rollout.verdict import Finding, Verdict
from tasks.wiring import Wiring


def next_action(wiring: Wiring, stage_name: str, slot: int, verdict: Verdict) -> Action:
    """Apply the policy to what the journal says now."""
    stage, state = wiring.plan.stage(stage_name), wiring.state()
    answer = state.stage(stage_name).answer
    is_whole = not state.set_back | state.killed
    return decide(verdict, answer, stage_is_over=slot == stage.slot_count, is_whole=is_whole)


def act(wiring: Wiring, stage_name: str, slot: int, verdict: Verdict, findings: list[Finding]) -> Action:
    """Carry the decision out. Idempotent: what the journal has is not done again. Raises RefusedError.

    What is refused came too late: somebody ended the rollout meanwhile.
    """
    if wiring.state().outcome is not None or wiring.state().attempt != wiring.attempt:
        return Action.HOLD
    action = next_action(wiring, stage_name, slot, verdict)
    by = wiring.state().stage(stage_name).decided_by
    match action:
        case Action.ROLL_BACK:
            roll_back(wiring, stage_name, _rollback_reason(verdict, findings, by))
        case Action.HOLD:
            wiring.orders.hold(_hold_reason(wiring, findings, by), by or "auto:rollout")
        case Action.ADVANCE:
            wiring.orders.advance(stage_name, by or "")
            if wiring.plan.stage(stage_name).weight_pct == 100:
                wiring.orders.promote(stage_name, f"every stage advanced, the last by {by}", by or "")
        case Action.ASK | Action.OBSERVE:
            pass
    return action


def roll_back(wiring: Wiring, stage_name: str | None, reason: str, actor: str = "auto:rollout") -> float:
    """Order the baseline back and see to it, whether or not a guardian does the same; return the seconds it took."""
    wiring.orders.order_rollback(reason, actor, stage=stage_name)
    seconds = wiring.rollback.carry_out()
    return seconds if seconds is not None else wiring.state().rollback_seconds or 0.0


def roll_back_after_error(wiring: Wiring, stage_name: str, error: GraygateError) -> None:
    """A step could not be done while the candidate may be live: the baseline goes back first."""
    if wiring.state().outcome is None and wiring.state().attempt == wiring.attempt:
        roll_back(wiring, stage_name, f"stage {stage_name} could not go on: {error}")


def is_ended(wiring: Wiring) -> bool:
    """Whether this attempt at the rollout is over or being rolled back."""
    state = wiring.state()
    return state.outcome is not None or state.is_aborted or state.attempt != wiring.attempt


def _hold_reason(wiring: Wiring, findings: list[Finding], by: str | None) -> str:
    state = wiring.state()
    if by:
        return f"held by {by}"
    if state.set_back | state.killed:
        return f"the stage is not whole: {', '.join(sorted(state.set_back | state.killed))} was taken off the candidate"
    return "the evidence is not conclusive: " + _blocking(findings)


def _rollback_reason(verdict: Verdict, findings: list[Finding], decided_by: str | None) -> str:
    if verdict is Verdict.FAIL:
        return " · ".join(finding.sentence for finding in findings if finding.verdict is Verdict.FAIL)
    return f"rolled back by {decided_by}"


def _blocking(findings: list[Finding]) -> str:
    return " · ".join(finding.sentence for finding in findings if finding.blocks_advance)
