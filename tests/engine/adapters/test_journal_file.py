"""The journal on disk: every change is found, a torn tail is healed, several processes keep one chain."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.adapters.journal_file import FileJournal
from engine.adapters.journal_head import HEAD_BYTES
from engine.clock import FakeClock
from engine.errors import JournalError
from engine.rollout.journal import GENESIS, Record, RecordType


def journal_in(folder: Path) -> FileJournal:
    return FileJournal(folder / "journal.jsonl", "rollout-1", FakeClock())


def filled(folder: Path, records: int = 5) -> FileJournal:
    journal = journal_in(folder)
    for number in range(records):
        journal.append(RecordType.SLOT_OBSERVED, {"slot": number, "is_last": False}, stage="10pct", step=f"s{number}")
    return journal


def note(journal: FileJournal, text: str = "x") -> Record:
    return journal.append(RecordType.ANOMALY_NOTED, {"note": text})


def test_records_are_numbered_and_each_names_the_one_before(tmp_path: Path) -> None:
    journal = filled(tmp_path, 3)

    records = journal.records()

    assert [record.seq for record in records] == [1, 2, 3]
    assert [record.prev for record in records] == [GENESIS, records[0].digest(), records[1].digest()]
    assert journal.head() == journal_in(tmp_path).head() == (3, records[2].digest())


def test_a_journal_that_does_not_exist_is_empty_and_looking_leaves_nothing(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "no"):
        assert journal_in(folder).records() == ()
        assert journal_in(folder).head() == (0, GENESIS)
    assert list(tmp_path.iterdir()) == []


def test_a_journal_in_no_folder_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="cannot be locked"):
        note(journal_in(tmp_path / "no"))


@pytest.mark.parametrize("is_open", [pytest.param(True, id="by the one who wrote it"), pytest.param(False, id="anew")])
def test_any_changed_byte_of_a_record_is_found(tmp_path: Path, is_open: bool) -> None:
    journal = filled(tmp_path, 3)
    raw = journal.path.read_bytes()

    for position in range(0, len(raw), 3):
        flipped = bytearray(raw)
        flipped[position] ^= 1 << (position % 8)
        journal.path.unlink()
        journal.path.write_bytes(bytes(flipped))

        with pytest.raises(JournalError):
            (journal if is_open else journal_in(tmp_path)).records()


def middle_removed(lines: list[bytes]) -> list[bytes]:
    return lines[:2] + lines[3:]


def first_removed(lines: list[bytes]) -> list[bytes]:
    return lines[1:]


def last_removed(lines: list[bytes]) -> list[bytes]:
    return lines[:-1]


def last_torn(lines: list[bytes]) -> list[bytes]:
    return [*lines[:-1], lines[-1][:-1]]


def all_removed(lines: list[bytes]) -> list[bytes]:
    return []


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


@pytest.mark.parametrize("is_open", [pytest.param(True, id="by the one who wrote it"), pytest.param(False, id="anew")])
@pytest.mark.parametrize(
    "damage",
    [
        middle_removed, first_removed, last_removed, last_torn, all_removed, two_swapped, one_doubled, last_doubled,
        one_blank, one_respaced, not_text,
    ],
)  # fmt: skip
def test_damage_is_found_and_nothing_is_appended(
    tmp_path: Path, damage: Callable[[list[bytes]], list[bytes]], is_open: bool
) -> None:
    journal = filled(tmp_path)
    damaged = b"".join(damage(journal.path.read_bytes().splitlines(keepends=True)))
    journal.path.write_bytes(damaged)
    journal = journal if is_open else journal_in(tmp_path)

    with pytest.raises(JournalError, match=r"journal\.(jsonl|head).*do not repair by hand"):
        journal.records()
    with pytest.raises(JournalError):
        note(journal)
    assert journal.path.read_bytes() == damaged


@pytest.mark.parametrize(
    ("damaged", "says"),
    [
        pytest.param(None, "missing beside a journal", id="missing"),
        pytest.param(b"", "missing beside a journal", id="empty"),
        pytest.param(bytes(HEAD_BYTES), "more than one record", id="zeros"),
        pytest.param(b"\xff" * HEAD_BYTES, "more than one record", id="no text"),
    ],
)
@pytest.mark.parametrize("is_open", [pytest.param(True, id="by the one who wrote it"), pytest.param(False, id="anew")])
def test_a_head_file_that_says_nothing_is_damage(
    tmp_path: Path, damaged: bytes | None, says: str, is_open: bool
) -> None:
    journal = filled(tmp_path)
    head = tmp_path / "journal.head"
    head.unlink()
    if damaged is not None:
        head.write_bytes(damaged)

    with pytest.raises(JournalError, match=says):
        (journal if is_open else journal_in(tmp_path)).records()


@pytest.mark.parametrize(
    "torn",
    [
        pytest.param(b"{", id="a byte"),
        pytest.param(b'{"actor":"auto:rollout","body', id="a part"),
        pytest.param(bytes(512), id="blocks never written"),
        pytest.param(bytes(512) + b'"type":"Held"}\n', id="its first block never written"),
    ],
)
def test_a_torn_record_is_left_out_and_cut_by_the_next(tmp_path: Path, torn: bytes) -> None:
    journal = filled(tmp_path, 2)
    with journal.path.open("ab") as file:
        file.write(torn)

    for reader in (journal, journal_in(tmp_path)):
        assert len(reader.records()) == 2
    assert note(journal).seq == 3
    for reader in (journal, journal_in(tmp_path)):
        assert [record.seq for record in reader.records()] == [1, 2, 3]


def test_a_record_that_was_written_and_never_acknowledged_counts_from_the_next_one_on(tmp_path: Path) -> None:
    before = filled(tmp_path, 2)
    head = (tmp_path / "journal.head").read_bytes()
    note(journal_in(tmp_path), "its writer died here")
    (tmp_path / "journal.head").write_bytes(head)

    assert len(before.records()) == len(journal_in(tmp_path).records()) == 2
    assert note(before).seq == 4
    assert [record.seq for record in journal_in(tmp_path).records()] == [1, 2, 3, 4]


def test_a_step_is_written_once(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    first = journal.append_once("10pct/deploy", RecordType.ADVANCED, {"n": 1}, stage="10pct")

    again = journal_in(tmp_path).append_once("10pct/deploy", RecordType.ADVANCED, {"n": 2}, stage="10pct")

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
        pytest.param("a\x0b\x0c\x1c\x00b", id="control characters"),
        pytest.param("a\udcffb", id="an argument that is not UTF-8"),
    ],
)
def test_any_text_a_person_writes_can_be_read_back(tmp_path: Path, comment: str) -> None:
    journal = journal_in(tmp_path)
    journal.append(RecordType.HELD, {"reason": comment}, actor=comment)
    journal.append(RecordType.HELD, {"reason": "next"})

    records = journal_in(tmp_path).records()
    assert [record.body["reason"] for record in records] == [comment, "next"]
    assert records[0].actor == comment


def test_what_is_no_number_is_not_written(tmp_path: Path) -> None:
    journal = filled(tmp_path, 1)

    with pytest.raises(ValueError, match="not JSON compliant"):
        journal.append(RecordType.HELD, {"reason": float("nan")})

    assert note(journal).seq == 2


def test_changing_what_was_given_does_not_change_what_is_remembered(tmp_path: Path) -> None:
    journal, body = journal_in(tmp_path), {"symbols": ("A", "B")}
    record = journal.append(RecordType.HELD, body)
    body["symbols"] = ("C",)

    assert record.body == journal.records()[0].body == journal_in(tmp_path).records()[0].body == {"symbols": ["A", "B"]}


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
    assert len(records) == 2 * 15 + 15
    assert {record.actor for record in records} == {"a", "b"}
