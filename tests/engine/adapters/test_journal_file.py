"""The journal on disk: changes are found, torn tails healed, races decided under the lock, old writers fenced."""

import errno
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.adapters.disk_model import FakeDisk
from engine.adapters.journal_file import RESERVE_BYTES, FileJournal
from engine.adapters.journal_head import HEAD_BYTES
from engine.clock import FakeClock
from engine.errors import JournalError, RefusedError
from engine.rollout.journal import GENESIS, URGENT, Record, RecordType

PATH = Path("/rollout/journal.jsonl")


def journal_in(folder: Path) -> FileJournal:
    return FileJournal(folder / "journal.jsonl", "rollout-1", FakeClock())


def filled(folder: Path, records: int = 5) -> FileJournal:
    journal = journal_in(folder)
    for number in range(records):
        journal.append(RecordType.SLOT_OBSERVED, {"slot": number, "is_last": False}, stage="10pct", step=f"s{number}")
    return journal


def on(disk: FakeDisk, segment_bytes: int = 1 << 20, epoch: int = 0) -> FileJournal:
    return FileJournal(PATH, "rollout-1", FakeClock(), epoch, disk=disk, segment_bytes=segment_bytes)


def note(journal: FileJournal, text: str = "x") -> Record:
    return journal.append(RecordType.ANOMALY_NOTED, {"note": text})


def notes(journal: FileJournal) -> list[str]:
    return [record.body["note"] for record in journal.records()]


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


def test_who_follows_writes_in_the_epoch_of_the_journal() -> None:
    disk = FakeDisk()
    follower = on(disk)
    assert note(follower).epoch == 0

    on(disk, epoch=7).append(RecordType.HELD, {})

    assert note(follower).epoch == 7
    assert follower.epoch == 0


def test_who_was_overtaken_is_refused_and_writes_nothing() -> None:
    disk = FakeDisk()
    old = on(disk, epoch=3)
    note(old)
    new = on(disk, epoch=3)
    assert new.append(RecordType.GUARDIAN_STARTED, {}, epoch_up=True).epoch == new.epoch == 4

    with pytest.raises(RefusedError, match="epoch 3 is older than 4: another process took over"):
        note(old)

    assert len(new.records()) == 2
    assert note(new).epoch == 4


def test_a_follower_that_opens_an_epoch_goes_on_following() -> None:
    disk = FakeDisk()
    follower = on(disk)
    assert follower.append(RecordType.ROLLBACK_ORDERED, {}, epoch_up=True).epoch == 1
    on(disk).append(RecordType.GUARDIAN_STARTED, {}, epoch_up=True)

    assert note(follower).epoch == 2


def test_an_epoch_that_was_refused_is_not_taken() -> None:
    disk = FakeDisk()
    journal = on(disk, epoch=3)

    def refuse(records: object) -> None:
        raise RefusedError("no")

    with pytest.raises(RefusedError, match="no"):
        journal.append_if(refuse, RecordType.REARMED, {}, epoch_up=True)

    assert journal.epoch == 3
    assert note(journal).epoch == 3


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
