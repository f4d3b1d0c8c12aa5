"""What the processes of a world share so that thousands of rollouts take minutes: readings and folds of one journal."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from engine.adapters.journal_file import FileJournal
from engine.rollout.journal import Record
from engine.rollout.state import Folding, RolloutState, apply, fold


class SharedFolding(Folding):
    """The state after so many records is worked out once for all processes.

    Records that a loss of power took are forgotten.
    """

    def __init__(self) -> None:
        super().__init__()
        self._states = [fold(())]
        self._folded: list[Record] = []

    def state(self, records: Sequence[Record]) -> RolloutState:
        count = len(records)
        known = min(count, len(self._folded))
        if known and self._folded[known - 1] != records[known - 1]:
            known = 0
        if known < count:
            del self._states[known + 1 :], self._folded[known:]
            for record in records[known:]:
                self._states.append(apply(self._states[-1], record))
                self._folded.append(record)
        return self._states[count]


@cache
def watched(kind: type[FileJournal]) -> Any:
    """A journal that tells the world what its process knows to be acknowledged."""

    class Watched(kind):  # type: ignore[valid-type,misc]
        see: Callable[[Sequence[Record]], None]

        def records(self) -> Sequence[Record]:
            found: Sequence[Record] = super().records()
            self.see(found)
            return found

        def append(self, *arguments: Any, **labels: Any) -> Record:
            return self._seen(super().append(*arguments, **labels))

        def append_once(self, *arguments: Any, **labels: Any) -> Record:
            return self._seen(super().append_once(*arguments, **labels))

        def append_if(self, *arguments: Any, **labels: Any) -> Record:
            return self._seen(super().append_if(*arguments, **labels))

        def begin_as(self, other: Any) -> None:
            """Begin with what another process has read and verified."""
            self._last = other._last

        def _seen(self, record: Record) -> Record:
            self.see(super().records())
            return record

    return Watched
