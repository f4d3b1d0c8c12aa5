"""What is known of a rollout while it is simulated, and what is left of it afterwards."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple


class Outlook(NamedTuple):
    """What the records say that is to come: `slot_ns` is when the slot that is due ends, as elapsed time."""

    seq: int
    is_pending: bool
    desired: frozenset[str]
    waits_for_people: bool
    is_aborted: bool
    slot_ns: int | None
    is_promoted: bool = False

    def is_settled(self, live: frozenset[str]) -> bool:
        """Whether nothing waits for its outcome and the right things run; after a promotion the baseline will do."""
        return not self.is_pending and (live == self.desired or (self.is_promoted and not live))


@dataclass
class Result:
    """What became of a rollout."""

    seed: int
    outcome: str
    days: float
    events: int
    faults: Counter[str]
    rollbacks: int
    sha256: str
    broken: str | None = None
    excerpt: list[str] = field(default_factory=list)
