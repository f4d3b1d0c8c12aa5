"""The journal's records and the chain that makes changes to them visible.

One record is one line of canonical JSON; `prev` is the SHA-256 of the line before.
State is a fold of the records (`state.py`); nothing else remembers.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from engine.errors import JournalError

GENESIS = "0" * 64

FIELDS = (
    "seq", "prev", "ts", "boot_id", "mono_ns", "epoch", "rollout", "stage", "step", "actor", "type", "body",
)  # fmt: skip


class RecordType(StrEnum):
    """What happened, in the past tense."""

    ROLLOUT_PLANNED = "RolloutPlanned"
    FLOW_STARTED = "FlowStarted"
    SERVICE_STARTED = "ServiceStarted"
    PREFLIGHT_PASSED = "PreflightPassed"
    DRILLED = "Drilled"
    DEPLOYED = "Deployed"
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
    ROLLED_BACK = "RolledBack"
    PROMOTED = "Promoted"


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

    def to_line(self) -> str:
        """Canonical JSON without the line end."""
        plain = {name: getattr(self, name) for name in FIELDS}
        return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    def digest(self) -> str:
        """SHA-256 of the line: the next record's `prev`, and the journal's head while it is the last."""
        return hashlib.sha256(self.to_line().encode()).hexdigest()


def parse_line(line: str, number: int) -> Record:
    """Read one line back. Raises JournalError that names the line if it is not a record."""
    try:
        plain = json.loads(line)
        if set(plain) != set(FIELDS):
            raise ValueError(f"fields are {sorted(plain)}")
        record = Record(**{**plain, "type": RecordType(plain["type"])})
    except (ValueError, TypeError) as error:
        raise JournalError(
            f"journal line {number}: not a record ({error}); stop and look, do not repair by hand"
        ) from error
    if record.to_line() != line:
        raise JournalError(f"journal line {number}: not in canonical form; it was changed after it was written")
    return record


def verify_chain(records: Iterable[Record]) -> list[Record]:
    """Return the records if every one follows from the one before; raise JournalError if not."""
    checked: list[Record] = []
    prev = GENESIS
    for expected_seq, record in enumerate(records, start=1):
        if record.seq != expected_seq or record.prev != prev:
            raise JournalError(
                f"journal record {record.seq} does not follow record {expected_seq - 1}: "
                "a record was removed, added, reordered or changed"
            )
        prev = record.digest()
        checked.append(record)
    return checked


class Journal(Protocol):
    """Append-only record of a rollout, safe for several processes."""

    def records(self) -> list[Record]:
        """All records, oldest first, verified. Raises JournalError if the journal is damaged."""

    def append(self, type_: RecordType, body: dict[str, Any], **labels: Any) -> Record:
        """Write one record and return it once it is on disk."""

    def append_once(self, step: str, type_: RecordType, body: dict[str, Any], **labels: Any) -> Record:
        """As `append`, unless a record of that step exists: then return that one."""

    def append_if(
        self, allowed: Callable[[list[Record]], None], type_: RecordType, body: dict[str, Any], **labels: Any
    ) -> Record:
        """As `append`, after `allowed` saw the records under the same lock and did not raise."""

    def head(self) -> tuple[int, str]:
        """Sequence number and digest of the last record; (0, GENESIS) if there is none."""
