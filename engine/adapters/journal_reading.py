"""Reading a journal's files back: what is acknowledged, and what a crash left behind it."""

import re
from dataclasses import dataclass
from pathlib import Path

from engine.adapters.disk import Disk, Stat
from engine.adapters.journal_head import Head, read_heads
from engine.errors import JournalError
from engine.rollout.journal import ADVICE, Chain

_SEGMENT = re.compile(r"-(\d{6})\.jsonl")
_NOTHING = Chain()


@dataclass(frozen=True, slots=True)
class Names:
    """The files of a journal, named after its active segment."""

    active: Path
    head: Path
    lock: Path
    reserve: Path

    @classmethod
    def of(cls, active: Path) -> "Names":
        """The names that belong to an active segment."""
        return cls(active, *(active.with_suffix(suffix) for suffix in (".head", ".lock", ".reserve")))

    def segment(self, number: int) -> Path:
        """Name of a full segment, counted from 1."""
        return self.active.with_name(f"{self.active.stem}-{number:06d}.jsonl")

    def exist(self, disk: Disk) -> bool:
        """Whether there is any of them."""
        return any(name.startswith(self.active.stem) for name in disk.list(self.active.parent))

    def segments(self, disk: Disk) -> list[Path]:
        """The full segments, oldest first. Raises JournalError if one is missing."""
        stem = self.active.stem
        names = [name for name in disk.list(self.active.parent) if name.startswith(stem)]
        found = [name for name in names if _SEGMENT.fullmatch(name[len(stem) :])]
        wanted = [self.segment(number).name for number in range(1, len(found) + 1)]
        missing = sorted(set(wanted) - set(found))
        if missing:
            raise JournalError(f"{self.active.parent}: {missing[0]} is missing; {ADVICE}")
        return [self.active.with_name(name) for name in wanted]


@dataclass(frozen=True, slots=True)
class Reading:
    """The acknowledged records, and the files they were read from as they were then.

    `offset` is where the last of them ends in the active segment; `unacknowledged` is the chain with the one record
    behind it that a crash left before it was acknowledged.
    """

    chain: Chain = _NOTHING
    segments: int = 0
    lines: int = 0
    offset: int = 0
    stat: Stat | None = None
    head: bytes = b""
    unacknowledged: Chain | None = None

    @property
    def everything(self) -> Chain:
        """The acknowledged records and the one behind them."""
        return self.unacknowledged or self.chain


def read_new(disk: Disk, names: Names, last: Reading) -> Reading | None:
    """Read what was added since the last reading. None if there is more to it: then read all under the lock."""
    head = disk.read(names.head)  # first: the records it counts are in the journal by now
    stat = disk.stat(names.active)
    if stat == last.stat and head == last.head and last.unacknowledged is None:
        return last
    if stat is None or last.stat is None or not _has_grown(last.stat, stat):
        return None
    heads = read_heads(head)
    raw = disk.read(names.active, last.offset, stat.size - last.offset)
    try:
        return _follow(last, names, raw, stat, head, heads)
    except JournalError:
        return None


def read_all(disk: Disk, names: Names) -> Reading:
    """Read and verify everything. Hold the lock, or know that nobody writes. Raises JournalError."""
    segments = names.segments(disk)
    head, stat = disk.read(names.head), disk.stat(names.active)
    heads, chain = read_heads(head), Chain()
    for path in segments:
        *lines, rest = disk.read(path).split(b"\n")
        if rest or not lines:
            raise JournalError(f"{path}: ends in the middle of a record although it is a full segment; {ADVICE}")
        chain = chain.extended(lines, path)
    raw = b"" if stat is None else disk.read(names.active, 0, stat.size)
    if not head and (chain.records or b"\n" in raw):
        raise JournalError(f"{names.head}: missing beside a journal with records; {ADVICE}")
    return _follow(Reading(chain, len(segments)), names, raw, stat, head, heads)


def _has_grown(before: Stat, now: Stat) -> bool:
    return now.identity == before.identity and (now.size > before.size or now == before)


def _follow(
    last: Reading, names: Names, raw: bytes, stat: Stat | None, head: bytes, heads: list[Head]
) -> Reading:  # fmt: skip
    """Read on in the active segment. Raises JournalError."""
    acknowledged = heads[0].seq if heads else 0
    missing = acknowledged - len(last.chain.records)
    if missing < 0:
        raise JournalError(
            f"{names.head}: says that {acknowledged} records were acknowledged, there are {len(last.chain.records)}: "
            f"it is an older file, or it was changed; {ADVICE}"
        )
    *lines, rest = raw.split(b"\n", missing)
    chain = last.chain.extended(lines, names.active, last.lines + 1) if lines else last.chain
    if len(chain.records) < acknowledged:
        raise JournalError(
            f"{names.active}: ends after record {len(chain.records)}, {names.head} says that {acknowledged} records "
            f"were acknowledged: the end was cut off; {ADVICE}"
        )
    for slot in heads:
        if slot.digest != chain.digest_at(slot.seq):
            raise JournalError(
                f"{names.active}: record {slot.seq} is not the one that {names.head} says was acknowledged: "
                f"it was replaced; {ADVICE}"
            )
    count = last.lines + len(lines)
    offset = last.offset + len(raw) - len(rest)
    more = _unacknowledged(chain, rest, names.active, count + 1)
    return Reading(chain, last.segments, count, offset, stat, head, more)


def _unacknowledged(chain: Chain, rest: bytes, file: Path, line: int) -> Chain | None:
    """The chain with what a crash left behind the acknowledged records; None if that is no whole record.

    A torn record has no line end, or zero bytes where blocks never reached the disk.
    """
    *lines, torn = rest.split(b"\n")
    if not lines or b"\0" in rest:
        return None
    if len(lines) > 1 or torn:
        raise JournalError(
            f"{file} line {line}: more than one record behind the {len(chain.records)} that the head file says were "
            f"acknowledged: records were added, or the head file was changed; {ADVICE}"
        )
    return chain.extended(lines, file, line)
