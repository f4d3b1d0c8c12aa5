"""Checking a rollout's journal as a whole: every record, every segment, what was acknowledged, every anchor."""

import errno
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.adapters.disk import Disk, RealDisk
from engine.adapters.journal_reading import Names, read_all
from engine.errors import JournalError
from engine.rollout.journal import ADVICE, Chain

_NOT_OURS = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


@dataclass(frozen=True, slots=True)
class Checked:
    """A journal in which nothing was found. A crash may leave bytes that nobody acknowledged; that is no damage."""

    records: int
    segments: int
    head: str
    epoch: int
    anchors: int
    unacknowledged_bytes: int


def verify_folder(folder: Path, disk: Disk | None = None) -> Checked:
    """Read the journal of a rollout's folder again and check it against its anchors.

    Anchors are the `*.anchor.json` beside the reports. Raises JournalError that names file and line.
    """
    disk = disk or RealDisk()
    names = Names.of(folder / "journal.jsonl")
    try:
        with _held_still(disk, names):
            reading = read_all(disk, names)
            anchors = _check_anchors(disk, folder / "reports", reading.chain)
    except OSError as error:
        raise JournalError(f"{folder}: the journal cannot be read ({error})") from error
    size = 0 if reading.stat is None else reading.stat.size
    return Checked(
        records=len(reading.chain.records),
        segments=reading.segments + (reading.stat is not None),
        head=reading.chain.digest,
        epoch=reading.chain.epoch,
        anchors=anchors,
        unacknowledged_bytes=size - reading.offset,
    )


@contextmanager
def _held_still(disk: Disk, names: Names) -> Iterator[None]:
    """Hold the lock; where we may not write, nobody of this rollout writes: a copy of an archive."""
    with ExitStack() as stack:
        try:
            if names.exist(disk):
                stack.enter_context(disk.lock(names.lock))
        except OSError as error:
            if error.errno not in _NOT_OURS:
                raise
        yield


def _check_anchors(disk: Disk, reports: Path, chain: Chain) -> int:
    names = [name for name in disk.list(reports) if name.endswith(".anchor.json")]
    for name in names:
        try:
            anchor = json.loads(disk.read(reports / name))
            seq, head = int(anchor["journal_seq"]), str(anchor["journal_head"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise JournalError(f"{reports / name}: not an anchor of a report ({error}); {ADVICE}") from error
        if not 0 <= seq <= len(chain.records):
            raise JournalError(
                f"{reports / name}: was written after record {seq}, the journal ends at {len(chain.records)}: "
                f"its end was cut off; {ADVICE}"
            )
        if chain.digest_at(seq) != head:
            raise JournalError(
                f"{reports / name}: names another record {seq} than the journal has: one of them was changed; {ADVICE}"
            )
    return len(names)
