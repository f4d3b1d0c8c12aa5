"""Do what was decided, and write it down: advance, hold, roll back, or go on observing."""

from engine.adapters.processes import restart_on_baseline
from engine.errors import GraygateError, ServiceError
from engine.rollout.decision import Action, decide
from engine.rollout.journal import RecordType
from engine.rollout.verdict import Finding, Verdict
from tasks.deploy import roll_back_and_verify
from tasks.wiring import Wiring


def next_action(wiring: Wiring, stage_name: str, slot: int, verdict: Verdict) -> Action:
    """Apply the policy to what the journal says now."""
    stage = wiring.plan.stage(stage_name)
    answer = wiring.state().stage(stage_name).answer
    return decide(verdict, answer, stage_is_over=slot == stage.slot_count)


def act(wiring: Wiring, stage_name: str, slot: int, verdict: Verdict, findings: list[Finding]) -> Action:
    """Carry the decision out. Idempotent: what the journal has is not done again."""
    if wiring.state().outcome is not None:
        return Action.HOLD
    action = next_action(wiring, stage_name, slot, verdict)
    stage_state = wiring.state().stage(stage_name)
    step = f"{stage_name}/{action.value}"
    match action:
        case Action.ROLL_BACK:
            roll_back(wiring, stage_name, _rollback_reason(verdict, findings, stage_state.decided_by))
        case Action.HOLD:
            by = stage_state.decided_by
            reason = f"held by {by}" if by else "the evidence is not conclusive: " + _blocking(findings)
            wiring.journal.append_once(step, RecordType.HELD, {"reason": reason}, stage=stage_name)
        case Action.ADVANCE:
            by = stage_state.decided_by or ""
            wiring.journal.append_once(step, RecordType.ADVANCED, {"by": by}, stage=stage_name, actor=by)
            if wiring.plan.stage(stage_name).weight_pct == 100:
                body = {"reason": f"every stage advanced, the last by {by}"}
                wiring.journal.append_once("promote", RecordType.PROMOTED, body, stage=stage_name, actor=by)
        case Action.ASK | Action.OBSERVE:
            pass
    return action


def roll_back(wiring: Wiring, stage_name: str | None, reason: str, actor: str = "auto:rollout") -> float:
    """Put the baseline back, verify it, journal it. A service that does not answer is restarted on baseline."""
    if wiring.state().outcome == "rolled_back":
        return wiring.state().rollback_seconds or 0.0
    started_ns = wiring.clock.mono_ns()
    tier = "control socket"
    try:
        roll_back_and_verify(wiring)
    except ServiceError:
        tier = "restart on baseline"
        restart_on_baseline(wiring.folder)
        roll_back_and_verify(wiring)
    seconds = (wiring.clock.mono_ns() - started_ns) / 1e9
    body = {"reason": reason, "seconds": seconds, "tier": tier}
    wiring.journal.append_once("roll_back", RecordType.ROLLED_BACK, body, stage=stage_name, actor=actor)
    return seconds


def roll_back_after_error(wiring: Wiring, stage_name: str, error: GraygateError) -> None:
    """A step could not be done while the candidate may be live: the baseline goes back first."""
    roll_back(wiring, stage_name, f"stage {stage_name} could not go on: {error}")


def _rollback_reason(verdict: Verdict, findings: list[Finding], decided_by: str | None) -> str:
    if verdict is Verdict.FAIL:
        return " · ".join(finding.sentence for finding in findings if finding.verdict is Verdict.FAIL)
    return f"rolled back by {decided_by}"


def _blocking(findings: list[Finding]) -> str:
    return " · ".join(finding.sentence for finding in findings if finding.blocks_advance)
