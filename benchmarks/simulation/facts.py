"""What the invariants are held against: a second, simple reading of the journal, without the engine's code."""

from dataclasses import dataclass, field

from engine.clock import NS_PER_S
from engine.rollout.journal import Record, RecordType
from engine.rollout.spec import RolloutSpec

Exposure = tuple[str, frozenset[str]]
"""A fingerprint and the symbols it may run on."""


@dataclass
class Stage:
    """What the journal says of the present attempt at a stage."""

    start_ns: int | None = None
    deployed_ns: int | None = None
    verdict: str = ""
    judged_slot: int = 0
    digest: str = ""
    asked_digest: str = ""
    yes_to: str = ""
    is_over: bool = False


@dataclass
class Facts:
    """Running summary of the acknowledged records. Times are market time."""

    spec: RolloutSpec
    records: list[Record] = field(default_factory=list)
    steps: set[str] = field(default_factory=set)
    epoch: int = 0
    abort_epoch: int | None = None
    is_back: bool = False
    orders: dict[str, frozenset[str]] = field(default_factory=dict)
    exposures: list[Exposure] = field(default_factory=list)
    taken: frozenset[str] = frozenset()
    stages: dict[str, Stage] = field(default_factory=dict)
    rollbacks: int = 0
    rearmed_epoch: int = 0
    orders_before: dict[str, frozenset[str]] = field(default_factory=dict)

    def stage(self, name: str | None) -> Stage:
        """The stage of that name."""
        return self.stages.setdefault(name or "", Stage())

    def take(self, record: Record, market_ns: int) -> None:
        """Read one more record."""
        self.records.append(record)
        self.epoch = max(self.epoch, record.epoch)
        if record.step:
            self.steps.add(record.step)
        read = _READERS.get(record.type)
        if read is not None:
            read(self, record, market_ns)

    def slot_ns(self, name: str | None, slot: int) -> int | None:
        """When a slot of a stage ends, None if its clock has not started."""
        start_ns = self.stage(name).start_ns
        cadence_s = self.spec.plan.stage(name or "").cadence_s
        return None if start_ns is None else start_ns + slot * cadence_s * NS_PER_S


def _deploy_ordered(facts: Facts, record: Record, market_ns: int) -> None:
    name = record.stage or ""
    symbols = frozenset(record.body["symbols"])
    facts.orders[name] = symbols
    facts.exposures = [*facts.exposures[-1:], (facts.spec.releases[name].fingerprint, symbols)]


def _deployed(facts: Facts, record: Record, market_ns: int) -> None:
    facts.stage(record.stage).deployed_ns = market_ns
    facts.exposures = [(record.body["fingerprint"], frozenset(record.body["symbols"]))]
    facts.taken = frozenset()


def _abort_ordered(facts: Facts, record: Record, market_ns: int) -> None:
    facts.rollbacks += 1
    if record.body["symbols"] is None and facts.abort_epoch is None:
        facts.abort_epoch = record.epoch


def _abort_done(facts: Facts, record: Record, market_ns: int) -> None:
    if record.body["symbols"] is None:
        facts.is_back, facts.exposures = True, []
    else:
        facts.taken |= frozenset(record.body["symbols"])


def _rearmed(facts: Facts, record: Record, market_ns: int) -> None:
    facts.abort_epoch, facts.is_back, facts.taken = None, False, frozenset()
    facts.rearmed_epoch, facts.orders_before = record.epoch, facts.orders
    facts.orders, facts.stages = {}, {}  # what was live under a hold stays so until the guardian lowers it


def _judged(facts: Facts, record: Record, market_ns: int) -> None:
    stage = facts.stage(record.stage)
    stage.verdict, stage.digest = record.body["verdict"], record.body["evidence_digest"]
    stage.judged_slot = record.body["slot"]


def _answered(facts: Facts, record: Record, market_ns: int) -> None:
    if record.body["decision"] == "advance":
        facts.stage(record.stage).yes_to = record.body["evidence_digest"]


def _observed(facts: Facts, record: Record, market_ns: int) -> None:
    facts.stage(record.stage).is_over |= record.body["slot"] == facts.spec.plan.stage(record.stage or "").slot_count


def _started(facts: Facts, record: Record, market_ns: int) -> None:
    facts.stage(record.stage).start_ns = record.body["start_ns"]


def _asked(facts: Facts, record: Record, market_ns: int) -> None:
    facts.stage(record.stage).asked_digest = record.body["evidence_digest"]


_READERS = {
    RecordType.DEPLOY_ORDERED: _deploy_ordered,
    RecordType.DEPLOYED: _deployed,
    RecordType.ROLLBACK_ORDERED: _abort_ordered,
    RecordType.KILL_ORDERED: _abort_ordered,
    RecordType.ROLLED_BACK: _abort_done,
    RecordType.KILLED: _abort_done,
    RecordType.REARMED: _rearmed,
    RecordType.VERDICT_REACHED: _judged,
    RecordType.APPROVAL_GIVEN: _answered,
    RecordType.SLOT_OBSERVED: _observed,
    RecordType.STAGE_STARTED: _started,
    RecordType.APPROVAL_REQUESTED: _asked,
}
