"""Approvals: checked against the journal under its lock, used once, refusals journaled too."""

from pathlib import Path
from typing import Any

import pytest

from engine.adapters.journal_file import FileJournal
from engine.clock import FakeClock
from engine.errors import RefusedError
from engine.rollout.approvals import AUTOMATIC, ApprovalRequest, submit
from engine.rollout.decision import Answer
from engine.rollout.journal import RecordType

DIGEST = "d" * 64
OTHER = "e" * 64


def asking(folder: Path, kind: str = "rehearsal") -> FileJournal:
    """A journal in which stage 10pct asks for an approval of DIGEST."""
    journal = FileJournal(folder / "journal.jsonl", "rollout-1", FakeClock())
    journal.append(RecordType.ROLLOUT_PLANNED, {"kind": kind})
    journal.append(RecordType.APPROVAL_REQUESTED, {"evidence_digest": DIGEST}, stage="10pct")
    return journal


def request(**changes: Any) -> ApprovalRequest:
    plain = {
        "stage": "10pct", "evidence_digest": DIGEST, "decision": Answer.ADVANCE,
        "name": "Li Wei", "comment": "looks good", "door": "form",
    }  # fmt: skip
    return ApprovalRequest(**{**plain, **changes})


def test_an_approval_that_fits_is_journaled_with_its_name(tmp_path: Path) -> None:
    record = submit(asking(tmp_path), request(name="  Li Wei "))

    assert record.type is RecordType.APPROVAL_GIVEN
    assert (record.actor, record.body["name"], record.body["automatic"]) == ("Li Wei", "Li Wei", False)


def test_a_rehearsal_may_approve_itself(tmp_path: Path) -> None:
    record = submit(asking(tmp_path), request(name=AUTOMATIC))

    assert record.body["automatic"] is True


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        pytest.param({"evidence_digest": OTHER}, "rehearsal", "look at the new report", id="other evidence"),
        pytest.param({"stage": "50pct"}, "rehearsal", "does not ask", id="another stage"),
        pytest.param({"name": ""}, "rehearsal", "needs the name", id="no name"),
        pytest.param({"name": " \t"}, "rehearsal", "needs the name", id="a blank name"),
        pytest.param({"decision": Answer.NOT_ASKED}, "rehearsal", "must say", id="no decision"),
        pytest.param({"name": AUTOMATIC}, "production", "rehearsals only", id="automatic on production"),
        pytest.param({"name": f" {AUTOMATIC} "}, "production", "rehearsals only", id="automatic with spaces"),
    ],
)
def test_an_approval_that_does_not_fit_is_refused_and_the_refusal_journaled(
    tmp_path: Path, changes: dict[str, Any], kind: str, says: str
) -> None:
    journal = asking(tmp_path, kind)

    with pytest.raises(RefusedError, match=says):
        submit(journal, request(**changes))

    assert [record.type for record in journal.records()][2:] == [RecordType.APPROVAL_REFUSED]
    assert says in journal.records()[-1].body["refusal"]


def test_one_yes_is_used_once(tmp_path: Path) -> None:
    journal = asking(tmp_path)
    submit(journal, request())

    with pytest.raises(RefusedError, match="already decided by Li Wei"):
        submit(journal, request(name="Somebody else"))

    types = [record.type for record in journal.records()]
    assert types[2:] == [RecordType.APPROVAL_GIVEN, RecordType.APPROVAL_REFUSED]


def test_nothing_is_decided_once_the_rollout_is_over(tmp_path: Path) -> None:
    journal = asking(tmp_path)
    journal.append(
        RecordType.ROLLED_BACK, {"reason": "worse", "seconds": 0.1, "tier": "control socket", "symbols": None}
    )

    with pytest.raises(RefusedError, match="the rollout is over"):
        submit(journal, request())
