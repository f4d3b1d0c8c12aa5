"""Captures: appended to, never overwritten, mended after a crash, one file an instrument and day."""

import gzip
import random
from pathlib import Path

import pytest

from engine.adapters.live.capture import DAY_NS, Recorder
from engine.adapters.live.capture_file import MEMBER_BYTES, READ_BYTES, CaptureFile, mend
from engine.adapters.live.spec import Listed
from engine.errors import FeedError

BTC = Listed("usdm", "BTCUSDT")
PERP = Listed("cm", "BTCUSD_PERP")
DAY = 20_089  # 2025-01-01

LINES = [b"%d %b\n" % (number, b"x" * (number % 300)) for number in range(2_000)]


def text_of(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


def test_files_are_named_by_market_symbol_and_utc_day(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)

    recorder.take(BTC, (DAY + 1) * DAY_NS - 1, b"{}")
    recorder.take(BTC, (DAY + 1) * DAY_NS, b"[]")
    recorder.take(PERP, DAY * DAY_NS, b"{}")
    recorder.close()

    assert {path.name: text_of(path) for path in tmp_path.iterdir()} == {
        "usdm__btcusdt_20250101.gz": b"%d {}\n" % ((DAY + 1) * DAY_NS - 1),
        "usdm__btcusdt_20250102.gz": b"%d []\n" % ((DAY + 1) * DAY_NS),
        "cm__btcusd_perp_20250101.gz": b"%d {}\n" % (DAY * DAY_NS),
    }


def test_a_line_break_inside_a_message_does_not_split_its_line(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)

    recorder.take(BTC, DAY * DAY_NS, b'{"a":\r\n1}')
    recorder.close()

    assert text_of(next(tmp_path.iterdir())) == b'%d {"a":  1}\n' % (DAY * DAY_NS)


def test_a_file_that_exists_is_continued(tmp_path: Path) -> None:
    for text in (b"1 a\n", b"2 b\n", b"3 c\n"):
        file = CaptureFile(tmp_path / "x.gz")
        file.write([text])
        file.close()

    assert text_of(tmp_path / "x.gz") == b"1 a\n2 b\n3 c\n"


def test_nothing_written_leaves_nothing_behind_that_cannot_be_read(tmp_path: Path) -> None:
    CaptureFile(tmp_path / "x.gz").close()

    assert text_of(tmp_path / "x.gz") == b""


def test_what_was_flushed_survives_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    crashed = CaptureFile(path)
    crashed.write(LINES[:1000])
    crashed._file.close()  # as a kill would: without the end of the member

    file = CaptureFile(path)
    file.write(LINES[1000:])
    file.close()

    assert text_of(path) == b"".join(LINES)


def test_a_file_cut_anywhere_is_mended_to_whole_lines(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(LINES[:500])) + gzip.compress(b"".join(LINES[500:]))
    path = tmp_path / "x.gz"
    for size in [*range(0, 30), *range(30, len(whole), 97), len(whole)]:
        path.write_bytes(whole[:size])

        mend(path)

        text = text_of(path)
        assert b"".join(LINES).startswith(text)
        assert text == b"" or text.endswith(b"\n")
        assert mend(path) == 0


def test_garbage_at_the_end_is_cut_off_and_what_stands_before_it_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"1 a\n") + b"garbage" * 50)

    mend(path)

    assert text_of(path) == b"1 a\n"
    assert (tmp_path / "x.gz.damaged").read_bytes() == b"garbage" * 50


def test_members_after_a_damaged_one_are_set_aside_whole(tmp_path: Path) -> None:
    members = [gzip.compress(b"".join(LINES[first : first + 400])) for first in range(0, 2_000, 400)]
    flipped = bytearray(members[1])
    flipped[len(flipped) // 2] ^= 0xFF
    path = tmp_path / "x.gz"
    path.write_bytes(b"".join([members[0], flipped, *members[2:]]))

    mend(path)

    assert text_of(path).startswith(b"".join(LINES[:400]))
    assert (tmp_path / "x.gz.damaged").read_bytes() == b"".join([flipped, *members[2:]])


def test_a_file_that_is_no_capture_is_set_aside_and_recording_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(b"notes of somebody\n" * 1_000)

    file = CaptureFile(path)
    file.write([b"1 a\n"])
    file.close()

    assert text_of(path) == b"1 a\n"
    assert (tmp_path / "x.gz.damaged").read_bytes() == b"notes of somebody\n" * 1_000


def test_what_was_set_aside_before_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    for text in (b"first", b"second", b"third"):
        path.write_bytes(text)
        mend(path)

    kept = {found.name: found.read_bytes() for found in tmp_path.iterdir() if found != path}
    assert kept == {"x.gz.damaged": b"first", "x.gz.damaged1": b"second", "x.gz.damaged2": b"third"}


def test_a_capture_is_left_as_it_is_where_nothing_can_be_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"1 a\n") + b"garbage")
    monkeypatch.setattr("shutil.copyfileobj", full)

    with pytest.raises(OSError, match="No space left"):
        mend(path)

    assert path.read_bytes() == gzip.compress(b"1 a\n") + b"garbage"
    assert list(tmp_path.iterdir()) == [path]


def test_a_crash_sets_nothing_aside(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"".join(LINES))[:-20])

    assert mend(path) > 0

    assert list(tmp_path.iterdir()) == [path]


def test_damage_costs_no_more_lines_than_are_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    numbers = random.Random(1)
    lines = [b"%d %d\n" % (number, numbers.getrandbits(64)) for number in range(5_000)]
    crashed = CaptureFile(path)
    crashed.write(lines)
    crashed._file.close()
    path.write_bytes(path.read_bytes() + b"\xff" * 5_000)  # as after a loss of power

    mend(path)

    assert len(text_of(path)) > len(b"".join(lines)) - 5 * READ_BYTES
    assert b"".join(lines).startswith(text_of(path))


def test_members_end_before_they_grow_too_large_to_mend(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    file = CaptureFile(path)
    line = b"1 " + b"x" * 1_000_000 + b"\n"
    for _ in range(MEMBER_BYTES // len(line) + 2):
        file.write([line])
    file._file.close()

    assert 0 < mend(path) < MEMBER_BYTES
    assert text_of(path) == line * (MEMBER_BYTES // len(line) + 2)


def test_two_recorders_cannot_write_to_one_file(tmp_path: Path) -> None:
    first = CaptureFile(tmp_path / "x.gz")

    with pytest.raises(FeedError, match=r"x\.gz: another recorder writes to it"):
        CaptureFile(tmp_path / "x.gz")
    first.close()


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "missing")

    recorder.take(BTC, DAY * DAY_NS, b"{}")

    with pytest.raises(FeedError, match=r"usdm__btcusdt_20250101\.gz: cannot be written \(No such file"):
        recorder.flush()
