"""Events of one loop turn, per symbol, in the memory that kernels read (`engine/strategy/layout.py`)."""

import struct
from collections.abc import Callable
from typing import Protocol

import numpy as np

from engine.clock import Clock
from engine.strategy.events import EventBatch, Levels
from engine.strategy.layout import DEPTH, EVENT, GAP

_ROW = struct.Struct("=4q4d")
_ROW_SIZE = EVENT.itemsize
assert _ROW.size == _ROW_SIZE

FIRST_ROWS = 1024
FIRST_LEVELS = 4096


OnBatches = Callable[[dict[str, EventBatch]], None]
"""Is given the events of one turn by symbol. They are views of memory that the feed fills again: use them before
returning."""


class EventRows:
    """Collects the events of one symbol. Announces itself in `touched` at the first one."""

    def __init__(self, symbol: str, touched: "list[EventRows]") -> None:
        self.symbol = symbol
        self._touched = touched
        self._buffer = bytearray(FIRST_ROWS * _ROW_SIZE)
        self._size = 0  # bytes used
        self._levels = np.empty((FIRST_LEVELS, 2))
        self._level_count = 0

    def add(self, kind: int, arrival_ns: int, ts_ns: int, id_: int, a: float, b: float, c: float, d: float) -> None:
        """Append one event; the fields are those of EVENT."""
        at = self._size
        if at == 0:
            self._touched.append(self)
        elif at == len(self._buffer):
            self._buffer = self._buffer + bytes(at)
        _ROW.pack_into(self._buffer, at, kind, arrival_ns, ts_ns, id_, a, b, c, d)
        self._size = at + _ROW_SIZE

    def add_depth(self, arrival_ns: int, ts_ns: int, id_: int, bids: int, levels: Levels, is_snapshot: bool) -> None:
        """Append a DEPTH event with its levels, float64[n, 2], bids first."""
        first, last = self._level_count, self._level_count + len(levels)
        if last > len(self._levels):
            grown = np.empty((2 * last, 2))
            grown[:first] = self._levels[:first]
            self._levels = grown
        self._levels[first:last] = levels
        self._level_count = last
        self.add(DEPTH, arrival_ns, ts_ns, id_, first, bids, len(levels) - bids, 1.0 if is_snapshot else 0.0)

    def add_gap(self, arrival_ns: int) -> None:
        """Append a GAP: events were lost, nobody knows how many."""
        self.add(GAP, arrival_ns, arrival_ns, -1, 0.0, 0.0, 0.0, 0.0)

    def take(self) -> EventBatch:
        """Hand over what was collected and start again."""
        events = np.frombuffer(self._buffer, EVENT, self._size // _ROW_SIZE)
        levels = self._levels[: self._level_count]
        self._size = self._level_count = 0
        return EventBatch(events, levels)


class Loop(Protocol):
    """The part of an event loop that a turn needs."""

    def call_soon(self, callback: Callable[[], None]) -> object:
        """Call back in the next turn."""


class Turn:
    """One turn of the loop: all that it reads carries one arrival time and is handed over once, at its end.

    Arrival times never go back, even where the clock is set back.
    """

    def __init__(self, clock: Clock, loop: Loop, on_batches: OnBatches) -> None:
        self.arrival_ns = 0
        """Of the running turn; 0 before anything arrived in it."""
        self.touched: list[EventRows] = []
        self._latest_ns = 0
        self._clock = clock
        self._loop = loop
        self._on_batches = on_batches

    def begin(self) -> int:
        """Note that something arrives, and when: the arrival time of this turn, ns."""
        if self.arrival_ns == 0:
            self._latest_ns = self.arrival_ns = max(self._latest_ns, self._clock.now_ns())
            self._loop.call_soon(self.flush)
        return self.arrival_ns

    def flush(self) -> None:
        """Hand over what was collected."""
        self.arrival_ns = 0
        if self.touched:
            batches = {rows.symbol: rows.take() for rows in self.touched}
            self.touched.clear()
            self._on_batches(batches)
