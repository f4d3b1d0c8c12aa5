"""The journal on disk: changes are found, torn tails healed, approvals checked under the lock."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.adapters.journal_file import FileJournal
from engine.clock import FakeClock
from engine.errors import JournalError, RefusedError
from engine.rollout.approvals import AUTOMATIC, ApprovalRequest, submit
from engine.rollout.decision import Answer
from engine.rollout.journal import GENESIS, RecordType, verify_chain

DIGEST = "d" * 64
OTHER = "e" * 64


def journal_in(folder: Path) -> FileJournal:
    return FileJournal(folder / "journal.jsonl", "rollout-1", FakeClock())


def filled(folder: Path, records: int = 5) -> FileJournal:
    journal = journal_in(folder)
    for number in range(records):
        journal.append(RecordType.SLOT_OBSERVED, {"slot": number, "is_last": False}, stage="10pct", step=f"s{number}")
    return journal


def test_records_are_numbered_and_each_names_the_one_before(tmp_path: Path) -> None:
    journal = filled(tmp_path, 3)

    records = journal.records()

    assert [record.seq for record in records] == [1, 2, 3]
    assert [record.prev for record in records] == [GENESIS, records[0].digest(), records[1].digest()]
    assert journal.head() == (3, records[2].digest())


def test_a_journal_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert journal_in(tmp_path).records() == []
    assert journal_in(tmp_path).head() == (0, GENESIS)


def test_any_changed_byte_of_an_earlier_record_is_found(tmp_path: Path) -> None:
    journal = filled(tmp_path, 4)
    raw = journal.path.read_bytes()
    earlier = raw.rstrip(b"\n").rfind(b"\n")

    for position in range(0, earlier + 1, 3):
        flipped = bytearray(raw)
        flipped[position] ^= 1 << (position % 8)
        journal.path.write_bytes(bytes(flipped))

        with pytest.raises(JournalError):
            journal.records()


def middle_removed(lines: list[bytes]) -> list[bytes]:
    return lines[:2] + lines[3:]


def first_removed(lines: list[bytes]) -> list[bytes]:
    return lines[1:]


def two_swapped(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[2], lines[1], *lines[3:]]


def one_doubled(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[1], *lines[2:]]


def last_doubled(lines: list[bytes]) -> list[bytes]:
    return [*lines, lines[-1]]


def one_blank(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], b"\n", *lines[2:]]


def one_respaced(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[1].replace(b'":', b'": '), *lines[2:]]


def not_text(lines: list[bytes]) -> list[bytes]:
    return [lines[0], b"\xff\xfe\n", *lines[1:]]


@pytest.mark.parametrize(
    "damage",
    [middle_removed, first_removed, two_swapped, one_doubled, last_doubled, one_blank, one_respaced, not_text],
)
def test_a_damaged_middle_is_found_and_nothing_is_appended(
    tmp_path: Path, damage: Callable[[list[bytes]], list[bytes]]
) -> None:
    journal = filled(tmp_path)
    damaged = b"".join(damage(journal.path.read_bytes().splitlines(keepends=True)))
    journal.path.write_bytes(damaged)

    with pytest.raises(JournalError):
        journal.records()
    with pytest.raises(JournalError):
        journal.append(RecordType.HELD, {"reason": "x"})
    assert journal.path.read_bytes() == damaged


def test_a_torn_tail_is_left_out_and_cut_by_the_next_record(tmp_path: Path) -> None:
    journal = filled(tmp_path, 3)
    raw = journal.path.read_bytes()
    last = raw.rstrip(b"\n").rfind(b"\n") + 1

    for length in {last + 1, last + 40, len(raw) - 2, len(raw) - 1}:
        journal.path.write_bytes(raw[:length])
        assert [record.seq for record in journal.records()] == [1, 2]

        record = journal.append(RecordType.HELD, {"reason": "torn"})
        assert record.seq == 3
        assert [record.seq for record in journal.records()] == [1, 2, 3]


def test_a_journal_that_is_only_a_torn_line_starts_over(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    journal.path.write_bytes(b'{"seq":1,"pre')

    assert journal.records() == []
    assert journal.append(RecordType.FLOW_STARTED, {}).seq == 1


def test_a_step_is_written_once(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    first = journal.append_once("10pct/deploy", RecordType.ADVANCED, {"n": 1}, stage="10pct")

    again = journal.append_once("10pct/deploy", RecordType.ADVANCED, {"n": 2}, stage="10pct")

    assert again == first
    assert len(journal.records()) == 1


@pytest.mark.parametrize(
    "comment",
    [
        pytest.param("两个小时", id="Chinese"),
        pytest.param("a\nb\r\nc", id="line ends"),
        pytest.param('quote " and \\', id="quotes and backslashes"),
        pytest.param("a\u2028b", id="a line separator"),
        pytest.param("a\x85b", id="a next-line character"),
        pytest.param("a\x0b\x0c\x1cb", id="control characters"),
    ],
)
def test_any_text_a_person_writes_can_be_read_back(tmp_path: Path, comment: str) -> None:
    journal = journal_in(tmp_path)
    journal.append(RecordType.HELD, {"reason": comment})
    journal.append(RecordType.HELD, {"reason": "next"})

    assert [record.body["reason"] for record in journal.records()] == [comment, "next"]


def test_what_is_no_number_is_not_written(tmp_path: Path) -> None:
    journal = filled(tmp_path, 1)

    with pytest.raises(ValueError, match="not JSON compliant"):
        journal.append(RecordType.HELD, {"reason": float("nan")})

    assert len(journal.records()) == 1


def write_many(folder: Path, actor: str, count: int) -> None:
    journal = journal_in(folder)
    for number in range(count):
        journal.append(RecordType.SLOT_OBSERVED, {"slot": number, "is_last": False}, stage="10pct", actor=actor)
        journal.append_once(f"shared/{number}", RecordType.SERVICE_STARTED, {}, actor=actor)


def test_two_processes_keep_one_chain(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=write_many, args=(tmp_path, actor, 15)) for actor in ("a", "b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)

    assert [writer.exitcode for writer in writers] == [0, 0]
    records = journal_in(tmp_path).records()
    assert len(verify_chain(records)) == 2 * 15 + 15
    assert {record.actor for record in records} == {"a", "b"}


def asking(folder: Path, kind: str = "rehearsal") -> FileJournal:
    """A journal in which stage 10pct asks for an approval of DIGEST."""
    journal = journal_in(folder)
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
    journal.append(RecordType.ROLLED_BACK, {"reason": "worse", "seconds": 0.1})

    with pytest.raises(RefusedError, match="the rollout is over"):
        submit(journal, request())
