"""The sequence of one symbol's depth messages: what may be applied to its book, and in which order.

A book is a snapshot and every change after it. Changes carry update ids, and each venue says in its own way
which change follows which:

- SPOT: a change covers ids U..u and follows the one before if U <= last + 1. Ids up to the last are old.
- FUTURES: a change names its predecessor, pu = last. Ids are shared across symbols and skip, so U says
  nothing. The first change after a snapshot with id L has U <= L <= u.

Source: Binance, "How to manage a local order book correctly" (spot; USD-M and COIN-M futures).
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, TypeVar

BUFFER_LIMIT = 4096
"""Changes kept while a snapshot is on its way: at the recorded 50 a second and symbol, more than a minute."""

P = TypeVar("P")

OLD_LIMIT = 1_000
"""Old changes in a row, more than a rotated connection repeats."""


class SequenceRule(Enum):
    """How a venue numbers its changes."""

    SPOT = auto()
    FUTURES = auto()


class SyncState(Enum):
    """Where a book stands: nothing known, changes waiting for a snapshot, or complete."""

    COLD = auto()
    SYNCING = auto()
    LIVE = auto()


@dataclass(frozen=True, slots=True)
class Apply(Generic[P]):
    """A message that is next in sequence."""

    payload: P
    is_snapshot: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """The book is not complete any more: it must be forgotten until the next snapshot."""


@dataclass(frozen=True, slots=True)
class _Diff(Generic[P]):
    first_id: int
    last_id: int
    prev_id: int | None
    payload: P


class DepthSync(Generic[P]):
    """The sequence of one symbol. A gap in it concerns this symbol only.

    `duplicates` counts changes that the book already had; `gaps` how often the sequence broke; `dropped`
    changes that waited for a snapshot and went unused: older than it, or pushed out of the full buffer.
    """

    def __init__(self, rule: SequenceRule, buffer_limit: int = BUFFER_LIMIT) -> None:
        self.state = SyncState.COLD
        self.duplicates = 0
        self.gaps = 0
        self.dropped = 0
        self._rule = rule
        self._waiting: deque[_Diff[P]] = deque()
        self._buffer_limit = buffer_limit
        self._last_id = -1
        self._has_joined = False  # whether a change has followed the snapshot
        self._old_run = 0

    @property
    def needs_snapshot(self) -> bool:
        """Whether nothing can be applied before a snapshot, or a newer one, arrives."""
        return self.state is not SyncState.LIVE

    def on_diff(self, first_id: int, last_id: int, prev_id: int | None, payload: P) -> list[Apply[P] | Lost]:
        """Take a change with ids first..last (U, u), and its predecessor's last id (pu) where the venue gives it."""
        diff = _Diff(first_id, last_id, prev_id, payload)
        if self.needs_snapshot:
            self._wait(diff)
            return []
        if self._is_old(diff):
            return self._take_old(diff)
        self._old_run = 0
        if not self._is_next(diff):
            self.gaps += 1
            self._wait(diff)
            return [Lost()]
        self._last_id = diff.last_id
        self._has_joined = True
        return [Apply(diff.payload, is_snapshot=False)]

    def on_snapshot(self, last_update_id: int, payload: P) -> list[Apply[P] | Lost]:
        """Take a snapshot, and replay what waited for it.

        One that is older than the oldest waiting change is refused, since changes between the two are missing.
        One that nobody needs is ignored.
        """
        if not self.needs_snapshot:
            return []
        self._last_id, self._has_joined = last_update_id, False
        newer = [diff for diff in self._waiting if not self._is_old(diff)]
        if newer and not self._is_next(newer[0]):
            return []
        self.dropped += len(self._waiting) - len(newer)
        self._waiting.clear()
        self.state = SyncState.LIVE
        applied: list[Apply[P] | Lost] = [Apply(payload, is_snapshot=True)]
        for diff in newer:
            applied += self.on_diff(diff.first_id, diff.last_id, diff.prev_id, diff.payload)
        return applied

    def on_disconnect(self) -> list[Apply[P] | Lost]:
        """Forget everything: what was sent meanwhile will never arrive."""
        was_live = self.state is SyncState.LIVE
        self.dropped += len(self._waiting)
        self._waiting.clear()
        self.state = SyncState.COLD
        return [Lost()] if was_live else []

    def _wait(self, diff: _Diff[P]) -> None:
        self.state = SyncState.SYNCING
        self._waiting.append(diff)
        if len(self._waiting) > self._buffer_limit:
            self._waiting.popleft()
            self.dropped += 1

    def _is_old(self, diff: _Diff[P]) -> bool:
        """Whether the book contains the change. On futures the first change may end exactly at the snapshot."""
        if self._rule is SequenceRule.FUTURES and not self._has_joined:
            return diff.last_id < self._last_id
        return diff.last_id <= self._last_id

    def _take_old(self, diff: _Diff[P]) -> list[Apply[P] | Lost]:
        """Count an old change. After too many in a row it is the book's own id that is wrong: it starts over."""
        if self._has_joined:
            self.duplicates += 1
        else:
            self.dropped += 1
        self._old_run += 1
        if self._old_run <= OLD_LIMIT:
            return []
        self._old_run = 0
        self.gaps += 1
        self._wait(diff)
        return [Lost()]

    def _is_next(self, diff: _Diff[P]) -> bool:
        """Whether no change is missing between the book and this one."""
        if self._rule is SequenceRule.SPOT:
            return diff.first_id <= self._last_id + 1
        if diff.prev_id == self._last_id:
            return True
        return not self._has_joined and diff.first_id <= self._last_id <= diff.last_id
