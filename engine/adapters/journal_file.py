"""The journal as files of JSON lines: a record is written, synced, counted in the head file, synced, acknowledged.

`journal.jsonl` is the active segment, `journal-000001.jsonl` and on are full ones, `journal.head` says what was
acknowledged, `journal.lock` excludes other writers, `journal.reserve` is space for records that lower exposure.
"""

import errno
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.adapters.disk import Disk, RealDisk, Stat
from engine.adapters.journal_head import HEAD_BYTES, Head
from engine.adapters.journal_reading import Names, Reading, read_all, read_new
from engine.clock import NS_PER_S, Clock
from engine.errors import JournalError, RefusedError
from engine.rollout.journal import ADVICE, URGENT, Chain, Record, RecordType, sha256

Allowed = Callable[[Sequence[Record]], None]

SEGMENT_BYTES = 16 << 20
RESERVE_BYTES = 1 << 20

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class FileJournal:
    """Journal of one rollout. Several processes may append: the lock keeps the chain whole, the epoch fences.

    What was verified is kept, so that a look at a long journal reads only what is new.
    """

    def __init__(
        self, path: Path, rollout: str, clock: Clock, epoch: int = 0, disk: Disk | None = None,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:  # fmt: skip
        self.path = path
        self.epoch = epoch
        self._rollout = rollout
        self._clock = clock
        self._disk = disk or RealDisk()
        self._segment_bytes = segment_bytes
        self._names = Names.of(path)
        self._last: Reading | None = None
        self._synced: tuple[bytes, Stat | None] = (b"", None)
        self._failure: str | None = None

    def records(self) -> tuple[Record, ...]:
        """All acknowledged records, oldest first, verified: the same tuple while there are no new ones.

        Raises JournalError.
        """
        return self._read().chain.records

    def head(self) -> tuple[int, str]:
        """Sequence number and digest of the last acknowledged record. Raises JournalError."""
        chain = self._read().chain
        return len(chain.records), chain.digest

    def append(self, type_: RecordType, body: dict[str, Any], **labels: Any) -> Record:
        """Write one record; it survives a loss of power when this returns. Labels: stage, step, actor, epoch_up.

        Raises JournalError, RefusedError if another process took over.
        """
        return self._append(lambda records: None, type_, body, **labels)

    def append_once(self, step: str, type_: RecordType, body: dict[str, Any], **labels: Any) -> Record:
        """Write the record of a step, or return the one that exists. Raises as `append`."""
        return self._append(lambda records: _of_step(records, step), type_, body, step=step, **labels)

    def append_if(self, allowed: Allowed, type_: RecordType, body: dict[str, Any], **labels: Any) -> Record:
        """Write the record unless `allowed` raises on what the journal says under the same lock. Raises as `append`."""
        return self._append(allowed, type_, body, **labels)

    def _read(self) -> Reading:
        self._require_whole()
        with self._readable():
            last = self._read_new() or self._read_all()
        self._last = last
        return last

    def _read_new(self) -> Reading | None:
        return None if self._last is None else read_new(self._disk, self._names, self._last)

    def _read_all(self) -> Reading:
        if self._last is None and not self._names.exist(self._disk):
            return Reading()
        with self._disk.lock(self._names.lock):
            return self._read_all_locked()

    def _read_all_locked(self) -> Reading:
        reading = read_all(self._disk, self._names)
        if self._last is not None and not reading.everything.begins_with(self._last.chain):
            raise JournalError(
                f"{self.path}: records that this process has read are gone or were replaced, "
                f"there were {len(self._last.chain.records)}; {ADVICE}"
            )
        return reading

    def _append(
        self, found: Callable[[Sequence[Record]], Record | None], type_: RecordType, body: dict[str, Any], *,
        epoch_up: bool = False, **labels: Any,
    ) -> Record:  # fmt: skip
        self._require_whole()
        with self._locked():
            last = self._settled()
            done = found(last.chain.records)
            if done is not None:
                return done
            epoch = self._next_epoch(last.chain.epoch, epoch_up)
            record = self._record(last.chain, type_, body, epoch, **labels)
            with self._stop_on_error():
                self._last = last = self._write(last, record)
        if self.epoch:
            self.epoch = epoch
        return last.chain.records[-1]

    def _next_epoch(self, highest: int, is_up: bool) -> int:
        if is_up:
            return highest + 1
        if self.epoch and self.epoch < highest:
            raise RefusedError(f"epoch {self.epoch} is older than {highest}: another process took over")
        return self.epoch or highest

    def _record(
        self, chain: Chain, type_: RecordType, body: dict[str, Any], epoch: int, *,
        stage: str | None = None, step: str = "", actor: str = "auto:rollout",
    ) -> Record:  # fmt: skip
        return Record(
            seq=len(chain.records) + 1,
            prev=chain.digest,
            ts=datetime.fromtimestamp(self._clock.now_ns() / NS_PER_S, UTC).isoformat(timespec="milliseconds"),
            boot_id=self._clock.boot_id(),
            mono_ns=self._clock.mono_ns(),
            epoch=epoch,
            rollout=self._rollout,
            stage=stage,
            step=step,
            actor=actor,
            type=type_,
            body=body,
        )

    def _settled(self) -> Reading:
        """Everything there is, after a torn record was cut and a whole one that nobody acknowledged was taken over."""
        with self._readable():
            last = self._read_new() or self._read_all_locked()
        with self._stop_on_error():
            if last.head and (last.head, last.stat) != self._synced:  # whoever wrote it may have died before its sync
                self._sync_head(Head(len(last.chain.records), last.chain.digest))
            if last.unacknowledged is not None:
                last = self._acknowledge(last, last.unacknowledged)
            elif last.stat is not None and (last.head, last.stat) != self._synced:
                self._cut(last.offset)
                last = replace(last, stat=self._disk.stat(self.path))
        self._last = last
        return last

    def _write(self, last: Reading, record: Record) -> Reading:
        line = record.to_line()
        if len(last.head) < HEAD_BYTES:
            last = self._create(last)
        if record.type not in URGENT:
            self._keep_reserve()
        if last.offset >= self._segment_bytes:
            last = self._end_segment(last)
        if last.stat is None:
            self._disk.sync_folder(self.path.parent)  # the names there are, before another is made
        self._put(last.offset, line + b"\n", record.type in URGENT)
        as_read = replace(record, body=json.loads(line)["body"])  # nobody else holds this body
        chain = Chain((*last.chain.records, as_read), sha256(line), max(last.chain.epoch, record.epoch))
        return self._acknowledge(last, chain)

    def _create(self, last: Reading) -> Reading:
        """Make the head file before there is a record, so that it is never missing beside one."""
        self._allocate(self._names.head, HEAD_BYTES)
        self._disk.sync(self._names.head)
        return replace(last, head=self._disk.read(self._names.head))

    def _end_segment(self, last: Reading) -> Reading:
        self._disk.rename(self.path, self._names.segment(last.segments + 1))
        return replace(last, segments=last.segments + 1, lines=0, offset=0, stat=None)

    def _acknowledge(self, last: Reading, chain: Chain) -> Reading:
        """Make the record that is written behind the last acknowledged one durable, and count it."""
        try:
            self._disk.sync(self.path)
        except OSError:
            self._disk.truncate(self.path, last.offset)  # no other process may take over what the disk may not have
            raise
        if last.lines == 0:  # whoever made the file may have died before its name was durable
            self._disk.sync_folder(self.path.parent)
        head = Head(len(chain.records), chain.digest)
        slot = head.to_bytes()
        if self._disk.overwrite(self._names.head, head.offset, slot) != len(slot):
            raise OSError(errno.EIO, "the head was not written whole", str(self._names.head))
        self._sync_head(head)
        stat = self._disk.stat(self.path)
        size = stat.size if stat is not None else 0
        raw = last.head[: head.offset] + slot + last.head[head.offset + len(slot) :]
        self._synced = (raw, stat)
        return Reading(chain, last.segments, last.lines + 1, size, stat, raw)

    def _sync_head(self, head: Head) -> None:
        try:
            self._disk.sync(self._names.head)
        except OSError:
            # The kernel takes what it could not write for written: change it again, for whoever comes next to sync it.
            self._disk.overwrite(self._names.head, head.offset, head.to_bytes())
            raise

    def _put(self, offset: int, data: bytes, is_urgent: bool) -> None:
        """Write at the end, all or nothing. Raises JournalError if the disk is full."""
        while not self._is_written(data):
            self._cut(offset)
            if not is_urgent or self._disk.stat(self._names.reserve) is None:
                raise JournalError(
                    f"{self.path}: the disk is full, the record was not written; make room. "
                    "Rollback and kill can still be ordered: they use journal.reserve"
                )
            self._disk.remove(self._names.reserve)

    def _is_written(self, data: bytes) -> bool:
        try:
            return self._disk.append(self.path, data) == len(data)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            return False

    def _cut(self, offset: int) -> None:
        if self._disk.stat(self.path) is not None:
            self._disk.truncate(self.path, offset)
            self._disk.sync(self.path)

    def _keep_reserve(self) -> None:
        if self._disk.stat(self._names.reserve) is None:
            try:
                self._disk.allocate(self._names.reserve, RESERVE_BYTES)
            except OSError as error:
                if error.errno not in _FULL:
                    raise

    def _allocate(self, path: Path, size: int) -> None:
        try:
            self._disk.allocate(path, size)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise JournalError(f"{path}: the disk is full, no journal was begun; make room") from error

    def _require_whole(self) -> None:
        if self._failure is not None:
            raise JournalError(self._failure)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with ExitStack() as stack:
            try:
                stack.enter_context(self._disk.lock(self._names.lock))
            except OSError as error:
                raise JournalError(f"{self.path}: cannot be locked for writing ({error})") from error
            yield

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise JournalError(f"{self.path}: cannot be read ({error})") from error

    @contextmanager
    def _stop_on_error(self) -> Iterator[None]:
        """After a failed write or sync nobody knows what the disk has: trying again would only hide it."""
        try:
            yield
        except OSError as error:
            self._failure = (
                f"{self.path}: the disk failed ({error}), the record was not acknowledged; "
                "stop this process and look at the disk before starting another"
            )
            raise JournalError(self._failure) from error


def _of_step(records: Sequence[Record], step: str) -> Record | None:
    return next((record for record in records if record.step == step), None)
