"""Where a rollout stands: a fold of its journal. Restarting is replaying."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

from engine.rollout.decision import Answer
from engine.rollout.journal import Record, RecordType
from engine.rollout.verdict import Verdict

PROMOTED = "promoted"
HELD = "held"
ROLLED_BACK = "rolled_back"


@dataclass(frozen=True, slots=True)
class StageState:
    """One stage so far. Market times are None until the stage's clock has started."""

    name: str
    symbols: tuple[str, ...] = ()
    fingerprint: str | None = None
    drill_seconds: float | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    slots_observed: int = 0
    slots_judged: int = 0
    windows: int = 0
    verdict: Verdict | None = None
    evidence_digest: str | None = None
    report_html: str | None = None
    report_md: str | None = None
    is_over: bool = False
    requested_digest: str | None = None
    answer: Answer = Answer.NOT_ASKED
    decided_by: str | None = None
    advanced: bool = False


@dataclass(frozen=True, slots=True)
class RolloutState:
    """The whole rollout. `outcome` is None while it runs."""

    rollout: str = ""
    epoch: int = 0
    planned: dict[str, Any] = field(default_factory=dict)
    stages: tuple[StageState, ...] = ()
    outcome: str | None = None
    reason: str = ""
    rollback_seconds: float | None = None
    service_starts: int = 0
    report_html: str | None = None
    report_md: str | None = None

    def stage(self, name: str) -> StageState:
        """The stage of that name, an untouched one if it has not begun."""
        return next((stage for stage in self.stages if stage.name == name), StageState(name))

    @property
    def current(self) -> StageState | None:
        """The stage entered last, None before the first."""
        return self.stages[-1] if self.stages else None


def fold(records: Iterable[Record]) -> RolloutState:
    """Fold the journal into the present."""
    return reduce(apply, records, RolloutState())


def apply(state: RolloutState, record: Record) -> RolloutState:
    """Return the state after one more record."""
    state = replace(state, rollout=record.rollout, epoch=max(state.epoch, record.epoch))
    body = record.body
    match record.type:
        case RecordType.ROLLOUT_PLANNED:
            return replace(state, planned=body)
        case RecordType.SERVICE_STARTED:
            return replace(state, service_starts=state.service_starts + 1)
        case RecordType.REPORT_RENDERED if record.stage is None:
            return replace(state, report_html=body["html"], report_md=body["md"])
        case RecordType.ROLLED_BACK:
            return replace(state, outcome=ROLLED_BACK, reason=body["reason"], rollback_seconds=body["seconds"])
        case RecordType.HELD:
            return replace(state, outcome=HELD, reason=body["reason"])
        case RecordType.PROMOTED:
            return replace(state, outcome=PROMOTED, reason=body["reason"])
        case _:
            return _apply_to_stage(state, record)


def _apply_to_stage(state: RolloutState, record: Record) -> RolloutState:
    if record.stage is None:
        return state
    known = any(stage.name == record.stage for stage in state.stages)
    stages = state.stages if known else (*state.stages, StageState(record.stage))
    changed = tuple(_advance_stage(stage, record) if stage.name == record.stage else stage for stage in stages)
    return replace(state, stages=changed)


def _advance_stage(stage: StageState, record: Record) -> StageState:
    change = _CHANGES.get(record.type)
    return stage if change is None else replace(stage, **change(stage, record.body))


_CHANGES: dict[RecordType, Callable[[StageState, dict[str, Any]], dict[str, Any]]] = {
    RecordType.DRILLED: lambda stage, body: {"drill_seconds": body["seconds"]},
    RecordType.DEPLOYED: lambda stage, body: {"symbols": tuple(body["symbols"]), "fingerprint": body["fingerprint"]},
    RecordType.STAGE_STARTED: lambda stage, body: {"start_ns": body["start_ns"], "end_ns": body["end_ns"]},
    RecordType.SLOT_OBSERVED: lambda stage, body: {
        "slots_observed": max(stage.slots_observed, body["slot"]),
        "is_over": stage.is_over or body["is_last"],
    },
    RecordType.EVIDENCE_COLLECTED: lambda stage, body: {"windows": stage.windows + body["windows"]},
    RecordType.VERDICT_REACHED: lambda stage, body: {
        "verdict": Verdict[body["verdict"]],
        "evidence_digest": body["evidence_digest"],
        "slots_judged": max(stage.slots_judged, body["slot"]),
    },
    RecordType.REPORT_RENDERED: lambda stage, body: {"report_html": body["html"], "report_md": body["md"]},
    RecordType.APPROVAL_REQUESTED: lambda stage, body: {"requested_digest": body["evidence_digest"]},
    RecordType.APPROVAL_GIVEN: lambda stage, body: {"answer": Answer(body["decision"]), "decided_by": body["name"]},
    RecordType.ADVANCED: lambda stage, body: {"advanced": True},
}
"""What each record changes in the stage it speaks of."""
