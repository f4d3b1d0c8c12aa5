"""The journal's records and the chain that makes changes to them visible.

One record is one line of canonical JSON; `prev` is the SHA-256 of the line before.
State is a fold of the records (`state.py`); nothing else remembers.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from engine.errors import JournalError

GENESIS = "0" * 64
ADVICE = "stop and look, do not repair by hand"

FIELDS = (
    "seq", "prev", "ts", "boot_id", "mono_ns", "epoch", "rollout", "stage", "step", "actor", "type", "body",
)  # fmt: skip


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


class RecordType(StrEnum):
    """What happened, in the past tense."""

    ROLLOUT_PLANNED = "RolloutPlanned"
    FLOW_STARTED = "FlowStarted"
    GUARDIAN_STARTED = "GuardianStarted"
    SERVICE_STARTED = "ServiceStarted"
    SERVICE_DIED = "ServiceDied"
    PREFLIGHT_PASSED = "PreflightPassed"
    DEPLOY_ORDERED = "DeployOrdered"
    DRILL_ORDERED = "DrillOrdered"
    DRILLED = "Drilled"
    DEPLOYED = "Deployed"
    DEPLOY_REFUSED = "DeployRefused"
    STAGE_STARTED = "StageStarted"
    SLOT_OBSERVED = "SlotObserved"
    EVIDENCE_COLLECTED = "EvidenceCollected"
    VERDICT_REACHED = "VerdictReached"
    REPORT_RENDERED = "ReportRendered"
    APPROVAL_REQUESTED = "ApprovalRequested"
    APPROVAL_GIVEN = "ApprovalGiven"
    APPROVAL_REFUSED = "ApprovalRefused"
    ADVANCED = "Advanced"
    HELD = "Held"
    ROLLBACK_ORDERED = "RollbackOrdered"
    ROLLED_BACK = "RolledBack"
    KILL_ORDERED = "KillOrdered"
    KILLED = "Killed"
    REARMED = "Rearmed"
    ANOMALY_NOTED = "AnomalyNoted"
    PROMOTED = "Promoted"


URGENT = frozenset(
    {RecordType.ROLLBACK_ORDERED, RecordType.ROLLED_BACK, RecordType.KILL_ORDERED, RecordType.KILLED}
)  # fmt: skip
"""What lowers exposure: written from the reserve if the disk is full."""


@dataclass(frozen=True, slots=True)
class Record:
    """One fact. `step` is the idempotence key of what was done, empty where there is none."""

    seq: int
    prev: str
    ts: str
    boot_id: str
    mono_ns: int
    epoch: int
    rollout: str
    stage: str | None
    step: str
    actor: str
    type: RecordType
    body: dict[str, Any]

    def to_line(self) -> bytes:
        """Canonical JSON without the line end, in UTF-8; half a surrogate pair stands as its escape."""
        plain = {name: getattr(self, name) for name in FIELDS}
        return _canonical(plain).encode("utf-8", "backslashreplace")

    def digest(self) -> str:
        """SHA-256 of the line: the next record's `prev`, and the journal's head while it is the last."""
        return sha256(self.to_line())


@dataclass(frozen=True, slots=True)
class Chain:
    """Records that follow from one another, oldest first; the digest of the last; the highest epoch of any."""

    records: tuple[Record, ...] = ()
    digest: str = GENESIS
    epoch: int = 0

    def extended(self, lines: Sequence[bytes], file: object, first_line: int = 1) -> "Chain":
        """The chain with these lines behind it. Raises JournalError that names file and line."""
        records, digest, epoch = list(self.records), self.digest, self.epoch
        for number, line in enumerate(lines, start=first_line):
            record = parse_line(line, f"{file} line {number}")
            if record.seq != len(records) + 1 or record.prev != digest:
                raise JournalError(
                    f"{file} line {number}: record {record.seq} does not follow record {len(records)}: "
                    f"a record was removed, added, reordered or changed; {ADVICE}"
                )
            records.append(record)
            digest, epoch = sha256(line), max(epoch, record.epoch)
        return Chain(tuple(records), digest, epoch)

    def digest_at(self, seq: int) -> str:
        """Digest of the record of that number, GENESIS for 0. Raises IndexError if the chain is shorter."""
        return self.digest if seq == len(self.records) else self.records[seq].prev

    def begins_with(self, other: "Chain") -> bool:
        """Whether the other chain is the beginning of this one."""
        return len(other.records) <= len(self.records) and self.digest_at(len(other.records)) == other.digest


def sha256(line: bytes) -> str:
    """Digest of a line without its end."""
    return hashlib.sha256(line).hexdigest()


def parse_line(line: bytes, where: str) -> Record:
    """Read one line back. Raises JournalError that begins with `where` if it is not a record in canonical form."""
    try:
        plain = json.loads(line)
        if set(plain) != set(FIELDS):
            raise ValueError(f"fields are {sorted(plain)}")
        record = Record(**{**plain, "type": RecordType(plain["type"])})
        if not all(type(value) is int for value in (record.seq, record.mono_ns, record.epoch)):
            raise ValueError("seq, mono_ns and epoch must be whole numbers")
        canonical = record.to_line()
    except (ValueError, TypeError, RecursionError) as error:
        raise JournalError(f"{where}: not a record ({error}); {ADVICE}") from error
    if canonical != line:
        raise JournalError(f"{where}: not in canonical form, so it was changed after it was written; {ADVICE}")
    return record


class Journal(Protocol):
    """Append-only record of a rollout, safe for several processes.

    A record counts, for everybody, once it survives a loss of power. Labels: stage, step, actor, and
    `epoch_up` for a record that opens a new epoch. An `epoch` of 0 follows the journal's;
    any other is written as it is, and refused once the journal has a higher one.
    """

    epoch: int

    def records(self) -> Sequence[Record]:
        """All records, oldest first, verified. Raises JournalError if the journal is damaged."""

    def append(self, type_: RecordType, body: dict[str, Any], **labels: Any) -> Record:
        """Write one record and return it once it is on disk. Raises JournalError; RefusedError for an old epoch."""

    def append_once(self, step: str, type_: RecordType, body: dict[str, Any], **labels: Any) -> Record:
        """As `append`, unless a record of that step exists: then return that one."""

    def append_if(
        self, allowed: Callable[[Sequence[Record]], None], type_: RecordType, body: dict[str, Any], **labels: Any
    ) -> Record:
        """As `append`, after `allowed` saw the records under the same lock and did not raise."""

    def head(self) -> tuple[int, str]:
        """Sequence number and digest of the last record; (0, GENESIS) if there is none."""
