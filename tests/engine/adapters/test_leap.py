"""A live market whose clock leaps: the host slept, or the process stood. What nobody listened to is not measured."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.adapters.runtime import Runtime
from engine.strategy.events import TICK_NS, BookTop, EventBatch
from tests.making import MS, T0, S
from tests.making_service import SYMBOLS, runtime_in


def measured(runtime: Runtime) -> dict[float, bool]:
    """Per second in which windows began, whether all of them carry a fingerprint."""
    rows: list[dict[str, Any]] = [json.loads(row) for row in runtime.log.after(0, 1_000)[1]]
    found: dict[float, bool] = {}
    for row in rows:
        at_s = (row["window_start_ns"] - T0) / S
        found[at_s] = found.get(at_s, True) and row["fingerprint"] is not None
    return found


def tick_to(runtime: Runtime, at_ns: int) -> None:
    for clock_ns in range(runtime.host.clock_ns + TICK_NS, at_ns + 1, TICK_NS):
        runtime.tick(clock_ns)


@pytest.fixture
def running(tmp_path: Path) -> Runtime:
    """A live market that has run for two and a half seconds."""
    runtime = runtime_in(tmp_path)
    runtime.tick(T0)
    tick_to(runtime, T0 + 5 * S // 2)
    return runtime


@pytest.mark.parametrize(
    ("leap_ns", "is_counted"),
    [pytest.param(5 * S, True, id="five seconds"), pytest.param(5 * S + TICK_NS, False, id="more")],
)
def test_windows_in_a_leap_do_not_count_as_measured(running: Runtime, leap_ns: int, is_counted: bool) -> None:
    running.tick(T0 + 5 * S // 2 + leap_ns)
    tick_to(running, T0 + 10 * S)

    assert measured(running) == {0: True, 1: True, **dict.fromkeys(range(2, 8), is_counted), 8: True, 9: True}


def test_a_window_that_begins_where_the_leap_ends_counts(running: Runtime) -> None:
    running.tick(T0 + 10 * S)
    tick_to(running, T0 + 11 * S)

    assert measured(running)[10]
    assert not measured(running)[9]


def test_events_that_are_heard_before_the_first_tick_after_a_leap_hide_nothing(running: Runtime) -> None:
    at_ns = T0 + 10 * S + 20 * MS
    running.hear({SYMBOLS[0]: EventBatch.of([BookTop(at_ns, 99.0, 1.0, 101.0, 1.0)])})
    running.tick(T0 + 10 * S + TICK_NS)
    tick_to(running, T0 + 12 * S)

    assert measured(running) == {0: True, 1: True, **dict.fromkeys(range(2, 11), False), 11: True}
