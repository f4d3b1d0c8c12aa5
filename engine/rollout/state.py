"""Where a rollout stands: a fold of its journal. Restarting is replaying."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

from engine.rollout.decision import Answer
from engine.rollout.journal import Record, RecordType
from engine.rollout.verdict import Verdict

PROMOTED = "promoted"
HELD = "held"
ROLLED_BACK = "rolled_back"

CONTROL_SOCKET = "control socket"
"""Tier of a rollback that the running service carried out; others leave it restarted on the baseline, or stopped."""


@dataclass(frozen=True, slots=True)
class Order:
    """Something ordered whose outcome is not in the journal yet. `symbols` is None for all."""

    seq: int
    stage: str | None
    reason: str
    actor: str
    symbols: tuple[str, ...] | None
    boot_id: str
    mono_ns: int


@dataclass(frozen=True, slots=True)
class StageState:
    """One attempt at a stage so far. Market times are None until the stage's clock has started."""

    name: str
    symbols: tuple[str, ...] = ()
    fingerprint: str | None = None
    is_deployed: bool = False
    boot: str | None = None
    alerts_before: int = 0
    crashes: int = 0
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

    @property
    def waits_for_a_person(self) -> bool:
        """Whether a question stands that nobody has answered."""
        return self.requested_digest is not None and self.answer is Answer.NOT_ASKED


@dataclass(frozen=True, slots=True)
class RolloutState:
    """The whole rollout. `outcome` is None while it runs; `attempt` counts how often it was re-armed.

    `deploying`, `drilling`, `rolling_back` and `kills` are orders that wait for their outcome.
    `set_back` are symbols that somebody took off the candidate while the stage went on. `is_switched_off`:
    the service runs with the rollback switches, under which it takes no candidate; `is_restart_due`: a person
    re-armed the rollout since, so it may be started without them.
    """

    rollout: str = ""
    epoch: int = 0
    attempt: int = 0
    rearmed_epoch: int = 0
    guardian: str = ""
    planned: dict[str, Any] = field(default_factory=dict)
    stages: tuple[StageState, ...] = ()
    deploying: Order | None = None
    drilling: Order | None = None
    rolling_back: Order | None = None
    kills: tuple[Order, ...] = ()
    set_back: frozenset[str] = frozenset()
    killed: frozenset[str] = frozenset()
    outcome: str | None = None
    reason: str = ""
    rollback_seconds: float | None = None
    service_starts: int = 0
    is_switched_off: bool = False
    is_restart_due: bool = False
    report_html: str | None = None
    report_md: str | None = None

    def stage(self, name: str) -> StageState:
        """The stage of that name, an untouched one if it has not begun."""
        return next((stage for stage in self.stages if stage.name == name), StageState(name))

    @property
    def current(self) -> StageState | None:
        """The stage entered last, None before the first."""
        return self.stages[-1] if self.stages else None

    @property
    def deployed(self) -> StageState | None:
        """The stage deployed last in this attempt."""
        return next((stage for stage in reversed(self.stages) if stage.is_deployed), None)

    @property
    def killing(self) -> Order | None:
        """The kill to carry out next: one of everything first."""
        return min(self.kills, key=lambda order: order.symbols is not None, default=None)

    @property
    def is_aborted(self) -> bool:
        """Whether all symbols go back or have gone back to the baseline: nothing may raise exposure."""
        whole = self.rolling_back is not None and self.rolling_back.symbols is None
        dead = any(order.symbols is None for order in self.kills)
        return whole or dead or self.outcome == ROLLED_BACK

    def desired(self) -> tuple[str, ...]:
        """Symbols that shall run the candidate: those of the stage deployed last, less what was taken off it."""
        deployed = self.deployed
        if self.is_aborted or self.is_switched_off or deployed is None:
            return ()
        gone = self.set_back | self.killed
        return tuple(symbol for symbol in deployed.symbols if symbol not in gone)

    def step(self, stage: str, *parts: object) -> str:
        """Idempotence key of a step of this attempt at a stage."""
        return step_of(self.attempt, stage, *parts)


def step_of(attempt: int, stage: str, *parts: object) -> str:
    """Idempotence key of a step of an attempt at a stage."""
    suffix = f"~{attempt}" if attempt else ""
    return "/".join([stage + suffix, *map(str, parts)])


def fold(records: Iterable[Record]) -> RolloutState:
    """Fold the journal into the present."""
    return reduce(apply, records, RolloutState())


class Folding:
    """A fold that goes on from where it was: a journal of weeks is not folded again for each look."""

    def __init__(self) -> None:
        self._state = RolloutState()
        self._last: Record | None = None
        self._count = 0

    def state(self, records: Sequence[Record]) -> RolloutState:
        """The state after these records, which begin with those given before."""
        goes_on = self._count <= len(records) and (self._count == 0 or records[self._count - 1] == self._last)
        if not goes_on:
            self._state, self._count = RolloutState(), 0
        for i in range(self._count, len(records)):
            self._state = apply(self._state, records[i])
        self._count = len(records)
        self._last = records[-1] if records else None
        return self._state


def apply(state: RolloutState, record: Record) -> RolloutState:
    """Return the state after one more record."""
    if record.epoch > state.epoch or state.rollout != record.rollout:
        state = replace(state, rollout=record.rollout, epoch=max(state.epoch, record.epoch))
    change = _CHANGES.get(record.type)
    if change is not None:
        state = replace(state, **change(state, record))
    change_of_stage = _STAGE_CHANGES.get(record.type)
    return state if change_of_stage is None or record.stage is None else _with_stage(state, record, change_of_stage)


def _with_stage(
    state: RolloutState, record: Record, change: Callable[[StageState, dict[str, Any]], dict[str, Any]]
) -> RolloutState:
    name = record.stage or ""
    changed = replace(state.stage(name), **change(state.stage(name), record.body))
    known = any(stage.name == name for stage in state.stages)
    if not known:
        return replace(state, stages=(*state.stages, changed))
    return replace(state, stages=tuple(changed if stage.name == name else stage for stage in state.stages))


def _order(record: Record) -> Order:
    symbols = record.body.get("symbols")
    reason = record.body.get("reason", "")
    names = tuple(symbols) if symbols is not None else None
    return Order(record.seq, record.stage, reason, record.actor, names, record.boot_id, record.mono_ns)


def _rolled_back(state: RolloutState, record: Record) -> dict[str, Any]:
    symbols = record.body["symbols"]
    if symbols is not None:  # over the control socket: a restart takes every symbol back
        waiting, answered = state.rolling_back, record.body["order"]
        is_answered = waiting is not None and waiting.seq == answered  # a later order of all symbols still stands
        rest = None if is_answered else waiting
        return {"rolling_back": rest, "set_back": state.set_back | set(symbols)} | _without_deploy(state, symbols)
    return _all_back(state, record)


def _all_back(state: RolloutState, record: Record) -> dict[str, Any]:
    """Every symbol is on the baseline, by a rollback or a kill."""
    return {
        "rolling_back": None, "deploying": None, "drilling": None, "outcome": ROLLED_BACK,
        "reason": record.body["reason"], "rollback_seconds": record.body["seconds"],
        "is_switched_off": state.is_switched_off or record.body["tier"] != CONTROL_SOCKET,
    }  # fmt: skip


def _without_deploy(state: RolloutState, symbols: Sequence[str]) -> dict[str, Any]:
    """A deploy of symbols that were taken off meanwhile is void."""
    waiting = state.deploying
    is_void = waiting is not None and not set(symbols).isdisjoint(waiting.symbols or ())
    return {"deploying": None} if is_void else {}


def _killed(state: RolloutState, record: Record) -> dict[str, Any]:
    symbols = record.body["symbols"]
    rest = tuple(order for order in state.kills if order.seq != record.body["order"])
    if symbols is not None:
        return {"kills": rest, "killed": state.killed | set(symbols), **_without_deploy(state, symbols)}
    return _all_back(state, record) | {"kills": rest, "killed": state.killed | set(record.body["all"])}


def _rearmed(state: RolloutState, record: Record) -> dict[str, Any]:
    """The attempt begins again: a stage that did not advance is as if it had not been begun."""
    advanced = tuple(replace(stage, is_deployed=False) for stage in state.stages if stage.advanced)
    return {
        "attempt": state.attempt + 1, "rearmed_epoch": record.epoch, "is_restart_due": state.is_switched_off,
        "outcome": None, "reason": "", "rollback_seconds": None, "stages": advanced,
        "set_back": frozenset(), "killed": frozenset(), "deploying": None, "drilling": None,
    }  # fmt: skip


_CHANGES: dict[RecordType, Callable[[RolloutState, Record], dict[str, Any]]] = {
    RecordType.ROLLOUT_PLANNED: lambda state, record: {"planned": record.body},
    RecordType.GUARDIAN_STARTED: lambda state, record: {"guardian": record.body["guardian"]},
    RecordType.SERVICE_STARTED: lambda state, record: {
        "service_starts": state.service_starts + 1,
        "is_switched_off": record.body.get("on_baseline", False),
        "is_restart_due": False,
    },
    RecordType.DEPLOY_ORDERED: lambda state, record: {"deploying": _order(record)},
    RecordType.DEPLOYED: lambda state, record: {"deploying": None},
    RecordType.DEPLOY_REFUSED: lambda state, record: {"deploying": None},
    RecordType.DRILL_ORDERED: lambda state, record: {"drilling": _order(record)},
    RecordType.DRILLED: lambda state, record: {"drilling": None} if record.body["on_demand"] else {},
    RecordType.ROLLBACK_ORDERED: lambda state, record: {"rolling_back": _order(record)},
    RecordType.ROLLED_BACK: _rolled_back,
    RecordType.KILL_ORDERED: lambda state, record: {"kills": (*state.kills, _order(record))},
    RecordType.KILLED: _killed,
    RecordType.REARMED: _rearmed,
    RecordType.HELD: lambda state, record: {
        "outcome": HELD,
        "reason": record.body["reason"],
        "deploying": None,
    },
    RecordType.PROMOTED: lambda state, record: {"outcome": PROMOTED, "reason": record.body["reason"]},
    RecordType.REPORT_RENDERED: lambda state, record: (
        {} if record.stage is not None else {"report_html": record.body["html"], "report_md": record.body["md"]}
    ),
}
"""What each record changes in the rollout."""

_STAGE_CHANGES: dict[RecordType, Callable[[StageState, dict[str, Any]], dict[str, Any]]] = {
    RecordType.DEPLOY_ORDERED: lambda stage, body: {"symbols": tuple(body["symbols"])},
    RecordType.DRILLED: lambda stage, body: {"drill_seconds": body["seconds"]},
    RecordType.DEPLOYED: lambda stage, body: {
        "symbols": tuple(body["symbols"]),
        "fingerprint": body["fingerprint"],
        "is_deployed": True,
        "boot": body["boot"],
        "alerts_before": body["alerts"],
    },
    RecordType.SERVICE_DIED: lambda stage, body: {
        "crashes": stage.crashes + (stage.boot is not None),
        "boot": body["boot"],
    },
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
