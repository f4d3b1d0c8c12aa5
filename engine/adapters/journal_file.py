"""The journal as a file of JSON lines: one write and one fsync per record, an exclusive lock around both."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.clock import NS_PER_S, Clock
from engine.errors import JournalError
from engine.rollout.journal import GENESIS, Record, RecordType, parse_line, verify_chain

Allowed = Callable[[list[Record]], None]


class FileJournal:
    """Journal of one rollout. Several processes may append; the lock keeps the chain whole."""

    def __init__(self, path: Path, rollout: str, clock: Clock, epoch: int = 0) -> None:
        self.path = path
        self.epoch = epoch
        self._rollout = rollout
        self._clock = clock

    def records(self) -> list[Record]:
        """All records, oldest first, verified. A torn last line is not a record yet and is left out.

        Raises JournalError.
        """
        if not self.path.exists():
            return []
        whole, _, _ = self.path.read_bytes().rpartition(b"\n")
        return _parse(whole)

    def append(self, type_: RecordType, body: dict[str, Any], **labels: Any) -> Record:
        """Write one record; it is on disk when this returns. Labels: stage, step, actor."""
        return self.append_if(lambda records: None, type_, body, **labels)

    def append_once(self, step: str, type_: RecordType, body: dict[str, Any], **labels: Any) -> Record:
        """Write the record of a step, or return the one that exists."""
        with self._locked() as descriptor:
            records = self._heal(descriptor)
            done = next((record for record in records if record.step == step), None)
            return done or self._write(descriptor, records, type_, body, step=step, **labels)

    def append_if(self, allowed: Allowed, type_: RecordType, body: dict[str, Any], **labels: Any) -> Record:
        """Write the record unless `allowed` raises on what the journal says under the same lock."""
        with self._locked() as descriptor:
            records = self._heal(descriptor)
            allowed(records)
            return self._write(descriptor, records, type_, body, **labels)

    def head(self) -> tuple[int, str]:
        """Sequence number and digest of the last record."""
        records = self.records()
        return (records[-1].seq, records[-1].digest()) if records else (0, GENESIS)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        is_new = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if is_new:
                fsync_folder(self.path.parent)
            yield descriptor
        finally:
            os.close(descriptor)

    def _heal(self, descriptor: int) -> list[Record]:
        """Cut a torn last line: it was never acknowledged. A bad middle raises."""
        raw = self.path.read_bytes()
        whole, newline, torn = raw.rpartition(b"\n")
        if torn:
            os.ftruncate(descriptor, len(whole) + len(newline))
            os.fsync(descriptor)
        return _parse(whole)

    def _write(
        self, descriptor: int, records: list[Record], type_: RecordType, body: dict[str, Any], *,
        stage: str | None = None, step: str = "", actor: str = "auto:rollout",
    ) -> Record:  # fmt: skip
        now_ns = self._clock.now_ns()
        record = Record(
            seq=len(records) + 1,
            prev=records[-1].digest() if records else GENESIS,
            ts=datetime.fromtimestamp(now_ns / NS_PER_S, UTC).isoformat(timespec="milliseconds"),
            boot_id=self._clock.boot_id(),
            mono_ns=self._clock.mono_ns(),
            epoch=self.epoch,
            rollout=self._rollout,
            stage=stage,
            step=step,
            actor=actor,
            type=type_,
            body=body,
        )
        line = record.to_line().encode() + b"\n"
        if os.write(descriptor, line) != len(line):
            raise JournalError(f"{self.path}: the record was not written whole; is the disk full?")
        os.fsync(descriptor)
        return record


def _parse(whole: bytes) -> list[Record]:
    try:
        lines = whole.decode().split("\n") if whole else []  # splitlines() also splits inside a comment
    except UnicodeDecodeError as error:
        raise JournalError("the journal is not UTF-8 text; stop and look, do not repair by hand") from error
    return verify_chain(parse_line(line, number) for number, line in enumerate(lines, start=1))


def fsync_folder(folder: Path) -> None:
    """Make a new name in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
