"""Ask a person: the question and its answers stand in the journal, whichever door they come through."""

from engine.errors import RefusedError
from engine.rollout.approvals import AUTOMATIC, ApprovalRequest, submit
from engine.rollout.decision import Answer
from engine.rollout.journal import RecordType
from tasks.wiring import Wiring


def request_approval(wiring: Wiring, stage_name: str) -> str:
    """Write the question to the journal once and return the evidence digest it is about. Raises RefusedError."""
    stage_state = wiring.state().stage(stage_name)
    digest = stage_state.evidence_digest
    if digest is None:
        raise RefusedError(f"stage {stage_name} was not judged in this attempt")
    body = {"evidence_digest": digest, "report_html": stage_state.report_html, "approve": wiring.spec.approve}
    wiring.note(stage_name, digest[:12], "ask", type_=RecordType.APPROVAL_REQUESTED, body=body)
    return digest


def answer_automatically(wiring: Wiring, stage_name: str, digest: str) -> None:
    """A rehearsal may answer itself, and is recorded as having done so."""
    if is_open(wiring, stage_name):
        submit(wiring.journal, ApprovalRequest(stage_name, digest, Answer.ADVANCE, AUTOMATIC, "", "automatic"))


def is_open(wiring: Wiring, stage_name: str) -> bool:
    """Whether the question still stands: nobody answered, and the rollout is not over."""
    state = wiring.state()
    return state.outcome is None and state.stage(stage_name).answer is Answer.NOT_ASKED
