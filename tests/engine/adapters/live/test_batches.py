"""Batches: every event once, in order, with the levels it points into, handed over once a turn."""

from collections.abc import Callable

import numpy as np

from engine.adapters.live.batches import FIRST_LEVELS, FIRST_ROWS, EventRows, Turn
from engine.clock import FakeClock
from engine.strategy.events import EventBatch
from engine.strategy.layout import DEPTH, GAP, TRADE


class HandLoop:
    """A loop whose turns end when the test says so."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._waiting.append(callback)

    def turn(self) -> int:
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()
        return len(waiting)


def test_a_buffer_grows_and_keeps_every_event() -> None:
    rows, count = EventRows("BTCUSDT.binance_usdm", []), 5 * FIRST_ROWS + 3

    for number in range(count):
        rows.add(TRADE, 1, 2, number, 0.5 * number, 1.0, -1.0, 0.0)
    events = rows.take().events

    assert events["id"].tolist() == list(range(count))
    assert events["a"].tolist() == [0.5 * number for number in range(count)]
    assert len(rows.take().events) == 0


def test_levels_stand_where_their_event_says_even_after_growing() -> None:
    rows = EventRows("BTCUSDT.binance_usdm", [])
    messages = [np.arange(2.0 * size).reshape(-1, 2) + size for size in (3, 0, FIRST_LEVELS, 7)]

    for number, levels in enumerate(messages):
        rows.add_depth(1, 2, number, min(2, len(levels)), levels, number == 0)
    batch = rows.take()

    assert batch.events["kind"].tolist() == [DEPTH] * 4
    assert batch.events["d"].tolist() == [1.0, 0.0, 0.0, 0.0]
    for event, levels in zip(batch.events, messages, strict=True):
        first, last = int(event["a"]), int(event["a"] + event["b"] + event["c"])
        assert np.array_equal(batch.levels[first:last], levels)


def test_a_turn_hands_over_once_with_one_arrival_time() -> None:
    clock, loop, given = FakeClock(), HandLoop(), list[dict[str, EventBatch]]()
    turn = Turn(
        clock, loop, lambda batches: given.append({name: EventBatch(b.events.copy()) for name, b in batches.items()})
    )
    rows = [EventRows(name, turn.touched) for name in ("A", "B")]

    first_ns = turn.begin()
    clock.at_ns += 1_000
    for which in (0, 1, 0):
        rows[which].add(TRADE, turn.begin(), 0, which, 1.0, 1.0, 1.0, 0.0)
    callbacks = loop.turn()
    rows[1].add_gap(turn.begin())
    loop.turn()

    assert callbacks == 1
    assert [{name: batch.events["id"].tolist() for name, batch in one.items()} for one in given] == [
        {"A": [0, 0], "B": [1]},
        {"B": [-1]},
    ]
    assert given[0]["A"].events["arrival_ns"].tolist() == [first_ns, first_ns]
    assert given[1]["B"].events[["kind", "arrival_ns", "ts_ns"]].tolist() == [(GAP, first_ns + 1_000, first_ns + 1_000)]


def test_a_turn_without_events_hands_over_nothing() -> None:
    loop, given = HandLoop(), list[dict[str, EventBatch]]()
    turn = Turn(FakeClock(), loop, given.append)

    turn.begin()
    loop.turn()

    assert given == []


def test_arrival_does_not_go_back_when_the_clock_is_set_back() -> None:
    clock, loop = FakeClock(), HandLoop()
    turn = Turn(clock, loop, lambda batches: None)

    first_ns = turn.begin()
    loop.turn()
    clock.at_ns -= 3_600_000_000_000

    assert turn.begin() == first_ns
