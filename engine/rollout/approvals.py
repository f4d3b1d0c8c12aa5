"""The gate: a person's answer is a request until it is checked against the journal."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.errors import RefusedError
from engine.rollout.decision import Answer
from engine.rollout.journal import Journal, Record, RecordType
from engine.rollout.state import RolloutState, fold

AUTOMATIC = "auto:rehearsal"


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """What somebody wants to happen with a stage. `door` is where it came in."""

    stage: str
    evidence_digest: str
    decision: Answer
    name: str
    comment: str
    door: str


def submit(journal: Journal, request: ApprovalRequest) -> Record:
    """Check the request and write the answer to the journal, both under one lock.

    Raises RefusedError, and journals the refusal, when the request does not fit what is being
    decided: another stage, other evidence, a decision already taken, an unnamed person, or an
    automatic answer outside a rehearsal. One yes is used once.
    """
    request = replace(request, name=request.name.strip(), comment=request.comment.strip())
    body: dict[str, Any] = {
        "decision": request.decision.value,
        "name": request.name,
        "comment": request.comment,
        "door": request.door,
        "evidence_digest": request.evidence_digest,
        "automatic": request.name == AUTOMATIC,
    }
    try:
        return journal.append_if(
            lambda records: _check(records, request),
            RecordType.APPROVAL_GIVEN,
            body,
            stage=request.stage,
            actor=request.name,
        )
    except RefusedError as refusal:
        refused = {**body, "refusal": str(refusal)}
        actor = request.name or "unnamed"
        journal.append(RecordType.APPROVAL_REFUSED, refused, stage=request.stage, actor=actor)
        raise


def _check(records: Sequence[Record], request: ApprovalRequest) -> None:
    state = fold(records)
    _check_rollout(state, request)
    stage = state.stage(request.stage)
    if not request.name:
        raise RefusedError("an approval needs the name of the person who gives it")
    if request.decision is Answer.NOT_ASKED:
        raise RefusedError("an approval must say advance, hold or roll_back")
    if stage.requested_digest is None:
        raise RefusedError(f"stage {request.stage} does not ask for an approval")
    if stage.answer is not Answer.NOT_ASKED:
        raise RefusedError(f"stage {request.stage} was already decided by {stage.decided_by}: {stage.answer.value}")
    if stage.requested_digest != request.evidence_digest:
        raise RefusedError(
            f"the approval is for evidence {request.evidence_digest[:12]}, "
            f"stage {request.stage} now stands on {stage.requested_digest[:12]}; look at the new report"
        )


def _check_rollout(state: RolloutState, request: ApprovalRequest) -> None:
    if state.outcome is not None:
        raise RefusedError(f"the rollout is over ({state.outcome}); nothing is left to decide")
    if state.is_aborted:
        raise RefusedError("the rollout is being rolled back; nothing is left to decide")
    if request.decision is Answer.ADVANCE and state.set_back | state.killed:
        raise RefusedError(f"symbols were taken off the candidate: {sorted(state.set_back | state.killed)}")
    if request.name == AUTOMATIC and state.planned.get("kind") != "rehearsal":
        raise RefusedError("automatic approval is for rehearsals only")
