"""Closed windows wait until somebody has collected them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.adapters import window_log
from engine.adapters.window_log import WindowLog
from engine.strategy.layout import COUNTS, WINDOW
from engine.strategy.records import WindowRecord
from tests.making import MEASUREMENT, T0, S

RECORD = WindowRecord(
    symbol="BTCUSDT.simulated", arm="canary", window_start_ns=T0, window_end_ns=T0 + S, fingerprint="f" * 12,
    mode="quiet", window=np.zeros(1, WINDOW)[0], counts=np.zeros(1, COUNTS)[0], mid=1.0, volatility_bps=None,
)  # fmt: skip


def log_of(folder: Path, count: int, first: int = 1) -> WindowLog:
    """A log that windows `first`, `first + 1` ... were added to, each with its number as the mid price."""
    log = WindowLog(folder / "undelivered.jsonl", MEASUREMENT)
    for number in range(first, first + count):
        log.add(replace(RECORD, mid=float(number)))
    return log


def numbers(rows: list[str]) -> list[int]:
    return [int(json.loads(row)["mid"]) for row in rows]


def undelivered(folder: Path) -> list[int]:
    return numbers((folder / "undelivered.jsonl").read_text().splitlines())


def test_rows_come_in_pages_and_each_says_where_the_next_begins(tmp_path: Path) -> None:
    log = log_of(tmp_path, 5)

    last, rows = log.after(0, 3)
    assert (last, numbers(rows)) == (3, [1, 2, 3])

    last, rows = log.after(last, 3)
    assert (last, numbers(rows)) == (5, [4, 5])
    assert log.after(last, 3) == (5, [])


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        pytest.param([0], [1, 2, 3, 4, 5], id="handed over is not acknowledged"),
        pytest.param([0, 3], [4, 5], id="asking for what follows acknowledges"),
        pytest.param([3, 0], [4, 5], id="asking again takes nothing back"),
        pytest.param([5], [], id="everything is acknowledged"),
        pytest.param([6], [1, 2, 3, 4, 5], id="a number that was never given acknowledges nothing"),
        pytest.param([500], [1, 2, 3, 4, 5], id="nor does one from before a restart"),
        pytest.param([-1], [1, 2, 3, 4, 5], id="nor does a negative one"),
    ],
)
def test_what_nobody_acknowledged_is_written_down(tmp_path: Path, asked: list[int], left: list[int]) -> None:
    log = log_of(tmp_path, 5)

    for number in asked:
        log.after(number, 2)
    log.write_undelivered()

    assert undelivered(tmp_path) == left


@pytest.mark.parametrize("number", [-1, 6, 500])
def test_who_gives_a_number_that_is_not_of_this_log_gets_everything(tmp_path: Path, number: int) -> None:
    last, rows = log_of(tmp_path, 5).after(number, 10)

    assert (last, numbers(rows)) == (5, [1, 2, 3, 4, 5])


@pytest.mark.parametrize("number", [-1, 500])
def test_an_empty_log_says_zero_whatever_it_is_asked(tmp_path: Path, number: int) -> None:
    assert log_of(tmp_path, 0).after(number, 10) == (0, [])


def test_a_restart_serves_what_was_written_down_before_what_is_new(tmp_path: Path) -> None:
    before = log_of(tmp_path, 3)
    before.after(1, 1)
    before.write_undelivered()

    last, rows = log_of(tmp_path, 2, first=4).after(0, 10)

    assert (last, numbers(rows)) == (4, [2, 3, 4, 5])


@pytest.mark.parametrize(
    ("collected", "overwritten", "kept"),
    [
        pytest.param(0, 3, [4, 5, 6, 7], id="nothing was collected"),
        pytest.param(2, 1, [4, 5, 6, 7], id="one row more than was collected"),
        pytest.param(3, 0, [4, 5, 6, 7], id="what was collected may go"),
        pytest.param(4, 0, [5, 6, 7], id="more was collected"),
    ],
)
def test_rows_that_are_overwritten_before_anybody_has_them_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collected: int, overwritten: int, kept: list[int]
) -> None:
    monkeypatch.setattr(window_log, "KEPT", 4)
    log = log_of(tmp_path, 4)

    log.after(collected, 1)
    for number in (5, 6, 7):
        log.add(replace(RECORD, mid=float(number)))
    log.write_undelivered()

    assert log.overwritten == overwritten
    assert undelivered(tmp_path) == kept


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_row_with_a_number_that_is_none_is_refused_and_not_counted(tmp_path: Path, value: float) -> None:
    log = log_of(tmp_path, 1)

    with pytest.raises(ValueError, match="Out of range"):
        log.add(replace(RECORD, mid=value))

    assert log.after(0, 10)[0] == log.count == 1
