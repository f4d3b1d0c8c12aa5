"""A record is on the disk before it is acknowledged, as strace sees it."""

import shutil
from pathlib import Path

import pytest

from benchmarks.journal_order import check_order, events, trace_order

GOOD = ["record", "record_synced", "folder_synced", "head", "head_synced", "acknowledged"]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_every_record_is_synced_and_counted_before_it_is_acknowledged() -> None:
    found = trace_order(records=40)

    assert found == (40, [])


@pytest.mark.parametrize(
    "happened",
    [
        pytest.param(GOOD[:1] + GOOD[2:], id="record not synced"),
        pytest.param(GOOD[:2] + GOOD[3:], id="folder not synced"),
        pytest.param(GOOD[:3] + GOOD[5:], id="head not written"),
        pytest.param(GOOD[:4] + GOOD[5:], id="head not synced"),
        pytest.param(["acknowledged", *GOOD[:5]], id="acknowledged early"),
        pytest.param(["record", "head", "record_synced", "folder_synced", "head_synced", "acknowledged"],
                     id="counted before it is synced"),
        pytest.param(["record", *GOOD], id="written twice"),
        pytest.param([*GOOD, "renamed", *GOOD], id="segment begun before the folder is synced"),
    ],
)  # fmt: skip
def test_another_order_is_seen(happened: list[str]) -> None:
    assert len(check_order(happened)[1]) == 1
    assert check_order(GOOD) == (1, [])


def test_the_log_of_strace_is_read_as_it_is_written() -> None:
    log = """
12 pwrite64(3</r/journal.head>, "00000000000000000001 c5"..., 103, 4096) = 103
12 write(3</r/journal.jsonl>, "{\\"actor\\":"..., 340) = 340
12 write(3</r/other>, "x", 1) = 1
12 fdatasync(3</r/journal.jsonl>)         = 0
12 fsync(3</r>)                           = 0
12 fsync(3</elsewhere>)                   = 0
12 rename("/r/journal.jsonl", "/r/journal-000001.jsonl") = 0
12 fdatasync(3</r/journal.head>)          = -1 EIO (Input/output error)
12 write(1<pipe:[7]>, "acknowledged 1\\n", 15) = 15
"""
    assert list(events(log, Path("/r"))) == [
        "head", "record", "write of other", "record_synced", "folder_synced", "renamed", "acknowledged"
    ]  # fmt: skip
