"""The steps of a rollout without an orchestrator: what the guardian starts where the flow died or hangs.

`python -m tasks.walk FOLDER` does what is due and ends: at the rollout's end, or where a person is asked.
It is the story of `flows/` in plain calls; the journal does not show a difference.
"""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import EvidenceError, GraygateError, RefusedError, ServiceError
from engine.rollout.decision import Action
from engine.rollout.due import next_due
from engine.rollout.journal import RecordType
from tasks.act import act, is_ended, next_action, roll_back_after_error
from tasks.approve import answer_automatically, request_approval
from tasks.collect import collect
from tasks.compare import compare
from tasks.deploy import deploy
from tasks.observe import observe
from tasks.preflight import preflight
from tasks.report import final_report, report, reports_beside
from tasks.wiring import Wiring, open_rollout


def walk(wiring: Wiring) -> None:
    """Work on slot after slot until the rollout is over or waits for a person."""
    while (due := next_due(wiring.plan, wiring.state())) is not None:
        if work_on(wiring, *due) is Action.ASK or wiring.state().attempt != wiring.attempt:
            return
    final_report(wiring, reports_beside(wiring.folder))


def work_on(wiring: Wiring, stage_name: str, slot: int) -> Action:
    """Take a stage to the end of one slot and act on what it shows."""
    try:
        preflight(wiring, stage_name)
        deploy(wiring, stage_name)
        observe(wiring, stage_name, slot)
        collect(wiring, stage_name, slot)
        verdict, findings = compare(wiring, stage_name, slot)
        report(wiring, stage_name, slot, verdict, findings)
        if next_action(wiring, stage_name, slot, verdict) is Action.ASK:
            digest = request_approval(wiring, stage_name)
            if wiring.spec.approve == "auto":
                answer_automatically(wiring, stage_name, digest)
        return act(wiring, stage_name, slot, verdict, findings)
    except (ServiceError, EvidenceError) as error:
        roll_back_after_error(wiring, stage_name, error)
        return Action.ROLL_BACK
    except RefusedError:
        if not is_ended(wiring):
            raise
        return Action.ROLL_BACK  # somebody ended the rollout meanwhile


@contextmanager
def at_work(folder: Path, who: str) -> Iterator[Wiring]:
    """Be the only one that walks a rollout's steps. Raises RefusedError if another does."""
    with (folder / "flow.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError("another process is working on this rollout") from None
        wiring = open_rollout(folder)
        wiring.journal.append(RecordType.FLOW_STARTED, {"pid": os.getpid(), "who": who})
        yield wiring


def main() -> int:
    """Entry point of the stand-in."""
    try:
        with at_work(Path(sys.argv[1]), "stand-in") as wiring:
            walk(wiring)
    except GraygateError as error:
        print(f"stand-in: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
