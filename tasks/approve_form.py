"""The question in the Prefect page: a paused run with a form. What is entered is a request that the gate checks."""

import threading
from enum import StrEnum
from uuid import UUID

from prefect import flow
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run, resume_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from pydantic import Field

from engine.errors import RefusedError
from engine.rollout.approvals import ApprovalRequest, submit
from engine.rollout.decision import Answer
from tasks.approve import is_open
from tasks.wiring import Wiring

ASK_FOR_S = 7 * 86400
POLL_S = 1
FIRST_LOOK_S = 3.0


class Decision(StrEnum):
    """What the form offers; the default is the one that changes nothing."""

    HOLD = "hold"
    ADVANCE = "advance"
    ROLL_BACK = "roll_back"


class ApprovalForm(RunInput):
    """The form of the paused run. What it says is a request that the gate checks."""

    decision: Decision = Field(default=Decision.HOLD, description="Advance goes to the next stage")
    name: str = Field(min_length=2, description="Your name, as it shall stand in the journal")
    comment: str = Field(default="", description="Why")


def ask_in_prefect(wiring: Wiring, stage_name: str, digest: str, description: str) -> None:
    """Pause with a form until the gate has an answer, from whichever door. Silence ends in a hold."""

    @flow(name="approval", flow_run_name=f"approval {stage_name}", retries=0)
    def approval() -> str:
        attempt = 0
        while is_open(wiring, stage_name):
            attempt += 1
            form = _pause(wiring, stage_name, f"approve-{digest[:8]}-{attempt}", description)
            _submit_form(wiring, stage_name, digest, form)
        return wiring.state().stage(stage_name).answer.value

    approval(return_state=True)
    if is_open(wiring, stage_name):
        silence = ApprovalRequest(stage_name, digest, Answer.HOLD, "auto:deadline", "nobody answered", "deadline")
        submit(wiring.journal, silence)


def _pause(wiring: Wiring, stage_name: str, key: str, description: str) -> ApprovalForm | None:
    done = threading.Event()
    watcher = threading.Thread(target=_resume_when_answered, args=(wiring, stage_name, flow_run.id, done), daemon=True)
    watcher.start()
    try:
        return pause_flow_run(
            wait_for_input=ApprovalForm.with_initial_data(description=description, decision=Decision.HOLD),
            timeout=ASK_FOR_S,
            poll_interval=POLL_S,
            key=key,
        )
    except FlowPauseTimeout:
        return None
    finally:
        done.set()


def _resume_when_answered(wiring: Wiring, stage_name: str, run_id: str, done: threading.Event) -> None:
    """Close the form once another door has answered, so that nobody is asked what is decided."""
    wait_s = FIRST_LOOK_S
    while not done.wait(wait_s):
        wait_s = float(POLL_S)
        stage_state = wiring.state().stage(stage_name)
        if not is_open(wiring, stage_name):
            answered = {
                "decision": _form_value(stage_state.answer),
                "name": stage_state.decided_by or "rolled back",
                "comment": "answered elsewhere",
            }
            try:
                resume_flow_run(UUID(run_id), run_input=answered)
            except Exception:  # the form is only a view: it may be resumed, gone or not there yet
                continue
            return


def _form_value(answer: Answer) -> str:
    """What closes the form; a rollout that ended otherwise is shown as held, which changes nothing."""
    return Answer.HOLD.value if answer is Answer.NOT_ASKED else answer.value


def _submit_form(wiring: Wiring, stage_name: str, digest: str, form: ApprovalForm | None) -> None:
    if form is None or not is_open(wiring, stage_name):
        return
    request = ApprovalRequest(stage_name, digest, Answer(form.decision.value), form.name, form.comment, "prefect-ui")
    try:
        submit(wiring.journal, request)
    except RefusedError:
        return  # journaled by the gate; the form is shown again
