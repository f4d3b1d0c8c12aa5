"""`graygate journal verify`: the whole journal, what was acknowledged, and every anchor beside it."""

import errno
import json
from pathlib import Path

import pytest

from engine.adapters.disk_model import FakeDisk
from engine.adapters.journal_check import verify_folder
from engine.adapters.journal_file import FileJournal
from engine.clock import FakeClock
from engine.errors import JournalError
from engine.rollout.journal import GENESIS, RecordType


@pytest.fixture
def journal(tmp_path: Path) -> FileJournal:
    """Twenty records in segments, with an anchor after the tenth."""
    journal = FileJournal(tmp_path / "journal.jsonl", "rollout-1", FakeClock(), segment_bytes=1000)
    (tmp_path / "reports").mkdir()
    for number in range(20):
        journal.append(RecordType.ANOMALY_NOTED, {"note": number}, epoch_up=number % 10 == 0)
        if number == 9:
            anchor(tmp_path, *journal.head())
    return journal


def anchor(folder: Path, seq: object, head: object) -> None:
    content = json.dumps({"journal_seq": seq, "journal_head": head})
    (folder / "reports" / "stage-1-10pct.anchor.json").write_text(content)


def test_what_was_checked_is_counted(tmp_path: Path, journal: FileJournal) -> None:
    checked = verify_folder(tmp_path)

    assert (checked.records, checked.head) == journal.head()
    assert (checked.epoch, checked.anchors, checked.unacknowledged_bytes) == (2, 1, 0)
    assert checked.segments == len(list(tmp_path.glob("*.jsonl"))) > 3


def test_a_folder_without_a_journal_has_no_records(tmp_path: Path) -> None:
    checked = verify_folder(tmp_path)

    assert (checked.records, checked.segments, checked.head) == (0, 0, GENESIS)
    assert list(tmp_path.iterdir()) == []


def test_what_a_crash_left_is_counted_and_no_damage(tmp_path: Path, journal: FileJournal) -> None:
    with journal.path.open("ab") as file:
        file.write(b'{"actor":"au')

    assert verify_folder(tmp_path).unacknowledged_bytes == 12


@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize(
    ("seq", "head", "says"),
    [
        pytest.param(10, "0" * 64, "names another record 10", id="another digest"),
        pytest.param(11, None, "names another record 11", id="another place"),
        pytest.param(21, None, "was written after record 21, the journal ends at 20", id="beyond the end"),
        pytest.param(-1, None, "was written after record -1", id="before the beginning"),
        pytest.param("ten", None, "not an anchor", id="no number"),
        pytest.param(None, None, "not an anchor", id="nothing"),
    ],
)
def test_an_anchor_that_is_not_in_the_chain_is_named(tmp_path: Path, seq: object, head: str | None, says: str) -> None:
    path = tmp_path / "reports" / "stage-1-10pct.anchor.json"
    anchor(tmp_path, seq, head or json.loads(path.read_text())["journal_head"])

    with pytest.raises(JournalError, match=rf"stage-1-10pct\.anchor\.json: .*{says}"):
        verify_folder(tmp_path)


@pytest.mark.usefixtures("journal")
def test_an_anchor_finds_an_end_that_was_cut_off_together_with_the_head(tmp_path: Path) -> None:
    older = tmp_path / "older"
    older.mkdir()
    copy = FileJournal(older / "journal.jsonl", "rollout-1", FakeClock())
    copy.append(RecordType.ANOMALY_NOTED, {"note": 0}, epoch_up=True)
    for path in tmp_path.glob("journal*"):
        path.unlink()
    for path in older.glob("journal*"):
        path.rename(tmp_path / path.name)

    with pytest.raises(JournalError, match="was written after record 10, the journal ends at 1"):
        verify_folder(tmp_path)


@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize("name", ["journal-000001.jsonl", "journal-000002.jsonl", "journal.jsonl"])
def test_a_changed_line_is_named_with_its_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(path.read_bytes().replace(b"rollout-1", b"rollout-2", 1))

    with pytest.raises(JournalError, match=rf"{name} line [12]: .* does not follow .*|record 20 is not the one"):
        verify_folder(tmp_path)


@pytest.mark.usefixtures("journal")
def test_looking_again_finds_the_same(tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    assert verify_folder(tmp_path) == verify_folder(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("number", "is_read"),
    [
        pytest.param(errno.EROFS, True, id="a copy on a disk that cannot be written"),
        pytest.param(errno.EACCES, True, id="the folder of somebody else"),
        pytest.param(errno.EIO, False, id="a failing disk"),
    ],
)
def test_what_cannot_be_locked_is_read_if_nobody_can_write_it(number: int, is_read: bool) -> None:
    disk, folder = FakeDisk(), Path("/rollout")
    FileJournal(folder / "journal.jsonl", "rollout-1", FakeClock(), disk=disk).append(RecordType.HELD, {})

    def fault(name: str, path: Path) -> None:
        if name == "lock":
            raise OSError(number, "no")

    disk.fault = fault
    if is_read:
        assert verify_folder(folder, disk).records == 1
    else:
        with pytest.raises(JournalError, match="cannot be read"):
            verify_folder(folder, disk)
