"""The journal in use: read on from where one was, segments, a failing or full disk."""

import errno
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from engine.adapters.disk import Stat
from engine.adapters.disk_model import FakeDisk
from engine.adapters.journal_file import RESERVE_BYTES, FileJournal
from engine.adapters.journal_head import HEAD_BYTES
from engine.clock import FakeClock
from engine.errors import JournalError
from engine.rollout.journal import URGENT, Record, RecordType

PATH = Path("/rollout/journal.jsonl")


def on(disk: FakeDisk, segment_bytes: int = 1 << 20) -> FileJournal:
    return FileJournal(PATH, "rollout-1", FakeClock(), disk=disk, segment_bytes=segment_bytes)


def note(journal: FileJournal, text: str = "x") -> Record:
    return journal.append(RecordType.ANOMALY_NOTED, {"note": text})


def notes(journal: FileJournal) -> list[str]:
    return [record.body["note"] for record in journal.records()]


def test_what_was_read_cannot_be_taken_back() -> None:
    disk, other = FakeDisk(), FakeDisk()
    journal = on(disk)
    for number in range(3):
        note(journal, f"true {number}")
        note(on(other), f"false {number}")
    head = disk.read(PATH.with_suffix(".head"))

    whole = disk.read(PATH)
    disk.overwrite(PATH.with_suffix(".head"), 4096, bytes(4096))  # the third record's slot: as if it were not counted
    disk.truncate(PATH, len(b"".join(whole.splitlines(keepends=True)[:2])))
    with pytest.raises(JournalError, match="gone or were replaced, there were 3"):
        journal.records()

    disk.overwrite(PATH.with_suffix(".head"), 0, head)
    disk.overwrite(PATH, 0, whole)
    assert notes(journal) == ["true 0", "true 1", "true 2"]

    for file in (PATH, PATH.with_suffix(".head")):
        disk.remove(file)
        disk.append(file, other.read(file))
    with pytest.raises(JournalError, match="gone or were replaced"):
        journal.records()


def test_a_look_with_nothing_new_reads_nothing_again() -> None:
    disk = FakeDisk()
    writer, reader = on(disk), on(disk)
    for number in range(100):
        note(writer, str(number))
    first = reader.records()
    seen: list[str] = []
    disk.fault = lambda name, path: seen.append(f"{name} {path.name}")

    assert reader.records() is first
    assert seen == ["read journal.head", "stat journal.jsonl"]

    disk.fault = None
    note(writer, "new")
    assert notes(reader)[-2:] == ["99", "new"]


def test_what_others_wrote_is_read_on_from_where_one_was() -> None:
    disk = FakeDisk()
    journals = [on(disk), on(disk), on(disk)]

    for number in range(30):
        note(journals[number % 2], str(number))

    for journal in journals:
        assert notes(journal) == [str(number) for number in range(30)]


class CoarseDisk(FakeDisk):
    """A disk whose clock for files stands still."""

    def stat(self, path: Path) -> Stat | None:
        found = super().stat(path)
        return None if found is None else found._replace(changed_ns=0)


def test_a_record_that_was_not_acknowledged_may_have_been_replaced_since_one_looked() -> None:
    disk = CoarseDisk()
    reader = on(disk)
    note(reader, "before")
    size = len(disk.read(PATH))
    for text in ("aaa", "bbb"):
        disk.truncate(PATH, size)
        disk.fault = failing("overwrite", "journal.head", errno.EIO)
        with pytest.raises(JournalError):
            note(on(disk), text)
        disk.fault = None
        if text == "aaa":
            assert notes(reader) == ["before"]

    note(reader, "after")

    assert notes(reader) == notes(on(disk)) == ["before", "bbb", "after"]


def test_the_journal_goes_on_in_segments() -> None:
    disk = FakeDisk()
    writer, reader = on(disk, segment_bytes=1000), on(disk, segment_bytes=1000)

    for number in range(30):
        note(writer if number % 3 else on(disk, segment_bytes=1000), str(number))
        assert notes(reader) == [str(past) for past in range(number + 1)]

    names = disk.list(PATH.parent)
    assert "journal-000001.jsonl" in names
    assert "journal-000006.jsonl" in names
    assert all(disk.stat(PATH.with_name(name)).size < 1500 for name in names if name.endswith("jsonl"))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("tamper", "says"),
    [
        pytest.param(lambda disk: disk.remove(PATH), "the end was cut off", id="active removed"),
        pytest.param(lambda disk: disk.remove(PATH.with_name("journal-000002.jsonl")), "000002.jsonl is missing",
                     id="one removed"),
        pytest.param(lambda disk: exchange(disk, "journal-000001.jsonl", "journal-000002.jsonl"), "does not follow",
                     id="two exchanged"),
        pytest.param(lambda disk: disk.truncate(PATH.with_name("journal-000001.jsonl"), 700), "middle of a record",
                     id="one cut"),
    ],
)  # fmt: skip
def test_segments_that_were_touched_are_found(tamper: Callable[[FakeDisk], None], says: str) -> None:
    disk = FakeDisk()
    for number in range(20):
        note(on(disk, segment_bytes=1000), str(number))

    tamper(disk)

    with pytest.raises(JournalError, match=says):
        on(disk).records()


def exchange(disk: FakeDisk, one: str, other: str) -> None:
    disk.rename(PATH.with_name(one), PATH.with_name("aside"))
    disk.rename(PATH.with_name(other), PATH.with_name(one))
    disk.rename(PATH.with_name("aside"), PATH.with_name(other))


def failing(operation: str, file: str, number: int) -> Callable[[str, Path], int | None]:
    """A fault that fails an operation on a file with an error of the disk."""

    def fault(name: str, path: Path) -> int | None:
        if (name, path.name) == (operation, file):
            raise OSError(number, "the disk says no")
        return None

    return fault


@pytest.mark.parametrize(
    ("operation", "file"),
    [
        pytest.param("sync", "journal.jsonl", id="record not synced"),
        pytest.param("overwrite", "journal.head", id="head not written"),
        pytest.param("sync", "journal.head", id="head not synced"),
        pytest.param("append", "journal.jsonl", id="record not written"),
    ],
)
def test_after_a_failure_of_the_disk_nothing_is_tried_again(operation: str, file: str) -> None:
    disk = FakeDisk()
    journal = on(disk)
    note(journal, "before")
    disk.fault = failing(operation, file, errno.EIO)
    with pytest.raises(JournalError, match="stop this process"):
        note(journal, "lost")

    disk.fault = None
    done = disk.operations
    for call in (lambda: note(journal, "again"), journal.records, journal.head):
        with pytest.raises(JournalError, match="stop this process"):
            call()
    assert disk.operations == done
    assert notes(on(disk))[0] == "before"
    note(on(disk), "after")
    assert notes(on(disk))[-1] == "after"


def test_a_record_whose_sync_failed_is_not_taken_over_by_another_process() -> None:
    disk = FakeDisk()
    note(on(disk), "before")
    disk.fault = failing("sync", "journal.jsonl", errno.EIO)
    with pytest.raises(JournalError):
        note(on(disk), "perhaps not on the disk")
    disk.fault = None

    note(on(disk), "after")

    assert notes(on(disk)) == ["before", "after"]


def test_what_another_process_left_is_made_durable_before_it_is_built_upon() -> None:
    disk = FakeDisk()
    note(on(disk), "its writer may have died before the sync of the head, or after it cut a torn record")
    journal, done = on(disk), []
    disk.fault = lambda name, path: done.append(f"{name} {path.name}")

    note(journal)
    before = done[: done.index("append journal.jsonl")]
    assert {"sync journal.head", "sync journal.jsonl"} <= set(before)

    done.clear()
    note(journal)
    assert not [call for call in done[: done.index("append journal.jsonl")] if call.startswith("sync")]


def test_a_head_file_whose_maker_died_is_made_durable_by_the_next() -> None:
    for seed in range(40):
        disk = FakeDisk()
        disk.fault = failing("sync", "journal.head", errno.EIO)
        with pytest.raises(JournalError):
            note(on(disk), "never written")
        disk.fault = failing("overwrite", "journal.head", errno.EIO)  # the next one dies before it counts its record
        with pytest.raises(JournalError):
            note(on(disk), "written")
        disk.fault = None
        disk.crash(Random(seed))

        note(on(disk), "after")

        assert notes(on(disk))[-1] == "after"


def full_disk() -> FakeDisk:
    """A disk with a journal of one record and room for a third of another."""
    disk = FakeDisk()
    note(on(disk), "before")
    used = sum(disk.stat(PATH.with_name(name)).size for name in disk.list(PATH.parent))  # type: ignore[union-attr]
    disk.capacity = used + 100
    return disk


def test_on_a_full_disk_nothing_is_written_in_part() -> None:
    disk = full_disk()
    before = disk.read(PATH)
    journal = on(disk)

    for _ in range(2):
        with pytest.raises(JournalError, match="the disk is full"):
            note(journal)
        assert disk.read(PATH) == before

    disk.capacity = None
    assert note(journal).seq == 2


@pytest.mark.parametrize("type_", sorted(URGENT))
def test_what_lowers_exposure_is_written_to_a_full_disk(type_: RecordType) -> None:
    disk = full_disk()

    on(disk).append(type_, {"reason": "worse"})

    assert [record.type for record in on(disk).records()] == [RecordType.ANOMALY_NOTED, type_]


def test_the_reserve_is_kept_again_once_there_is_room() -> None:
    disk = full_disk()
    on(disk).append(RecordType.KILL_ORDERED, {})
    assert "journal.reserve" not in disk.list(PATH.parent)

    disk.capacity = None
    note(on(disk))

    reserve, head = (disk.stat(PATH.with_suffix(suffix)) for suffix in (".reserve", ".head"))
    assert reserve is not None
    assert head is not None
    assert (reserve.size, head.size) == (RESERVE_BYTES, HEAD_BYTES)


def test_no_journal_begins_on_a_full_disk() -> None:
    disk = FakeDisk(capacity=100)

    with pytest.raises(JournalError, match="no journal was begun"):
        note(on(disk))

    assert on(disk).records() == ()
