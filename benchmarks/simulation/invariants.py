"""What must hold whatever happens, each as one function that returns the sentence of a break.

The numbers are those of the reliability anchors. Records and effects are checked at the moment they happen,
`Moment`s after every event.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmarks.simulation.facts import Facts
from benchmarks.simulation.service import TTL_S, Effect
from engine.clock import NS_PER_S
from engine.errors import GraygateError
from engine.rollout.journal import GENESIS, Record, RecordType

RECOVERY_S = 60.0
GO_ON_S = 300.0
GUARD_S = 1.0
CLOCK_ERROR_S = 1


class Broken(GraygateError):
    """An invariant does not hold."""


class Moment(NamedTuple):
    """How things stand. `renewed_s`, `unsettled_s` and `idle_s` are simulated seconds.

    `renewed_s` is None while no service runs that could act; `unsettled_s` counts since the last fault ended or
    the service runs what it should, `idle_s` since something is due that nobody does.
    """

    live: dict[str, str]
    stable: str
    renewed_s: float | None
    unsettled_s: float
    idle_s: float


def i1_exposure(facts: Facts, moment: Moment) -> str | None:
    """What is live is part of what was ordered last and not taken off since; nothing is after a rollback."""
    if not moment.live:
        return None
    candidates = {symbol: found for symbol, found in moment.live.items() if found != moment.stable}
    if not candidates or any(
        all(found == fingerprint and symbol in symbols - facts.taken for symbol, found in candidates.items())
        for fingerprint, symbols in facts.exposures
    ):
        return None
    return f"{candidates} is live; ordered was {[(name, sorted(of)) for name, of in facts.exposures]}"


def i1_no_older_epoch_raises(facts: Facts, effect: Effect) -> str | None:
    """No epoch raises exposure that is older than one the service has seen."""
    if effect.after - effect.before and effect.epoch < effect.seen:
        return f"{effect.kind} of epoch {effect.epoch} raised exposure after epoch {effect.seen}"
    return None


def i2_advance_needs_a_yes(facts: Facts, record: Record) -> str | None:
    """A stage advances with PASS at its end and a yes to that evidence, in this attempt."""
    if record.type is not RecordType.ADVANCED:
        return None
    stage, plan = facts.stage(record.stage), facts.spec.plan.stage(record.stage or "")
    if not stage.is_over or stage.verdict != "PASS" or stage.judged_slot != plan.slot_count:
        return f"{record.stage} advanced with {stage.verdict or 'no verdict'} of slot {stage.judged_slot}"
    if not stage.digest or not stage.digest == stage.asked_digest == stage.yes_to:
        return f"{record.stage} advanced on {stage.digest[:8]}, asked {stage.asked_digest[:8]}, yes {stage.yes_to[:8]}"
    return None


RAISING = (RecordType.DEPLOY_ORDERED, RecordType.DEPLOYED, RecordType.STAGE_STARTED, RecordType.ADVANCED,
           RecordType.PROMOTED)  # fmt: skip


def i3_abort_is_final(facts: Facts, record: Record) -> str | None:
    """After an abort was ordered nothing goes up or on until a person re-arms."""
    if record.type in RAISING and facts.abort_epoch is not None:
        return f"{record.type.value} after the abort of epoch {facts.abort_epoch}"
    return None


def i3_no_raise_after_abort(facts: Facts, effect: Effect) -> str | None:
    """The service raises nothing once it has heard of an abort, nor once the abort is done."""
    raised = effect.after - effect.before
    if raised and facts.abort_epoch is not None and (facts.is_back or effect.seen >= facts.abort_epoch):
        return f"{effect.kind} raised {sorted(raised)} after the abort of epoch {facts.abort_epoch}"
    return None


def i4_write_ahead(facts: Facts, effect: Effect) -> str | None:
    """What goes up, is killed or re-armed was ordered before, in the journal.

    An apply that is on its way while somebody re-arms carries an older epoch, and was ordered in the attempt before.
    """
    orders = facts.orders_before if effect.epoch < facts.rearmed_epoch else facts.orders
    if effect.kind == "apply" and not effect.symbols <= orders.get(effect.stage, frozenset()):
        return f"apply of {effect.stage} without an order"
    types = {"kill": RecordType.KILL_ORDERED, "rearm": RecordType.REARMED}
    wanted = types.get(effect.kind)
    if wanted is not None and not any(record.type is wanted for record in facts.records):
        return f"{effect.kind} without {wanted.value}"
    return None


def i4_every_step_once(facts: Facts, record: Record) -> str | None:
    """No step is done twice."""
    return f"step {record.step} was done twice" if record.step and record.step in facts.steps else None


def i4_orders_have_outcomes(facts: Facts) -> str | None:
    """In the end every order has exactly one outcome."""
    for place, order in enumerate(facts.records):
        if order.type in OUTCOMES and not _outcomes(order, facts.records[place + 1 :]):
            return f"i4_orders_have_outcomes: {order.type.value} {order.seq} has no outcome"
    return None


OUTCOMES = {
    RecordType.DEPLOY_ORDERED: (RecordType.DEPLOYED, RecordType.DEPLOY_REFUSED),
    RecordType.ROLLBACK_ORDERED: (RecordType.ROLLED_BACK,),
    RecordType.KILL_ORDERED: (RecordType.KILLED,),
    RecordType.DRILL_ORDERED: (RecordType.DRILLED,),
}


def _outcomes(order: Record, later: Sequence[Record]) -> bool:
    """Its own outcome, or an abort: of everything, or of a symbol it was about to deploy. Of a kill only a kill."""
    is_deploy = order.type is RecordType.DEPLOY_ORDERED
    for record in later:
        if record.type in OUTCOMES[order.type]:
            is_own = record.stage == order.stage if is_deploy else record.step.endswith(f"/{order.seq}")
            if is_own:
                return True
        if record.type is RecordType.KILLED or (record.type is RecordType.ROLLED_BACK and order.type is not KILL):
            symbols = record.body["symbols"]
            if symbols is None or (is_deploy and set(symbols) & set(order.body["symbols"])):
                return True
    return False


KILL = RecordType.KILL_ORDERED


def i5_one_fingerprint(facts: Facts, moment: Moment) -> str | None:
    """There is one set of candidate parameters at a time."""
    found = {fingerprint for fingerprint in moment.live.values() if fingerprint != moment.stable}
    return f"a mixture is live: {sorted(found)}" if len(found) > 1 else None


def i6_acknowledged_is_durable(seen: Sequence[Record], found: Sequence[Record]) -> str | None:
    """Whatever was acknowledged or seen is still there."""
    for place, record in enumerate(seen):
        if place >= len(found) or found[place] != record:
            return f"i6_acknowledged_is_durable: record {record.seq} ({record.type.value}) is gone"
    return None


def i7_chain_is_whole(found: Sequence[Record]) -> str | None:
    """Every record follows from the one before."""
    prev = GENESIS
    for place, record in enumerate(found, start=1):
        if (record.seq, record.prev) != (place, prev):
            return f"i7_chain_is_whole: record {record.seq} does not follow"
        prev = record.digest()
    return None


def i11_recovers(facts: Facts, moment: Moment) -> str | None:
    """After the last fault all symbols are on the baseline or in a decided stage within a minute."""
    if moment.unsettled_s > RECOVERY_S:
        return f"nothing is decided {moment.unsettled_s:.0f} s after the last fault; live is {moment.live}"
    return None


def i11_goes_on(facts: Facts, moment: Moment) -> str | None:
    """What is due and needs no person and no market time is done within minutes."""
    return f"nobody has done what is due for {moment.idle_s:.0f} s" if moment.idle_s > GO_ON_S else None


def i11_dead_man(facts: Facts, moment: Moment) -> str | None:
    """Without a renewed lease nothing is live a second after it ran out."""
    is_live = any(found != moment.stable for found in moment.live.values())
    if is_live and moment.renewed_s is not None and moment.renewed_s > TTL_S + GUARD_S:
        return f"the candidate is live {moment.renewed_s:.1f} s after the last renewal"
    return None


def i12_no_early_end(facts: Facts, record: Record, true_ns: int) -> str | None:
    """No slot ends before its market time has passed since the start, and no stage starts before its deploy.

    `true_ns` is the market's time by a clock that nothing touches.
    """
    stage = facts.stage(record.stage)
    if record.type is RecordType.STAGE_STARTED and record.body["start_ns"] < (stage.deployed_ns or 0):
        return f"{record.stage} starts {((stage.deployed_ns or 0) - record.body['start_ns']) / 1e9:.0f} s too early"
    if record.type is not RecordType.SLOT_OBSERVED:
        return None
    end_ns = facts.slot_ns(record.stage, record.body["slot"])
    if end_ns is None or true_ns < end_ns - CLOCK_ERROR_S * NS_PER_S:
        return f"slot {record.body['slot']} of {record.stage} ended at {true_ns}, due is {end_ns}"
    return None


def i13_no_self_restart(facts: Facts, record: Record) -> str | None:
    """Nothing is ordered after a rollback until a named person re-armed."""
    if record.type is RecordType.REARMED and (not record.actor.strip() or record.actor.startswith("auto:")):
        return f"re-armed by {record.actor!r}"
    if record.type is RecordType.DEPLOY_ORDERED and facts.is_back:
        return f"{record.stage} was ordered after a rollback that nobody re-armed"
    return None


def i14_noise_does_not_roll_back(facts: Facts) -> str | None:
    """Trouble of the control plane alone is no reason to roll back."""
    return f"{facts.rollbacks} rollback(s) without a reason" if facts.rollbacks else None


OF_RECORDS: tuple[Callable[[Facts, Record], str | None], ...] = (
    i2_advance_needs_a_yes, i3_abort_is_final, i4_every_step_once, i13_no_self_restart,
)  # fmt: skip
OF_EFFECTS: tuple[Callable[[Facts, Effect], str | None], ...] = (
    i1_no_older_epoch_raises, i3_no_raise_after_abort, i4_write_ahead,
)  # fmt: skip
OF_MOMENTS: tuple[Callable[[Facts, Moment], str | None], ...] = (
    i5_one_fingerprint, i1_exposure, i11_dead_man, i11_recovers, i11_goes_on,
)  # fmt: skip


def breaks_of_record(facts: Facts, record: Record, true_ns: int) -> list[str]:
    """Sentences of what a record breaks; `facts` are those before it."""
    found = [(holds.__name__, holds(facts, record)) for holds in OF_RECORDS]
    found.append((i12_no_early_end.__name__, i12_no_early_end(facts, record, true_ns)))
    return [f"{name}: {sentence}" for name, sentence in found if sentence is not None]


def breaks_of_effect(facts: Facts, effect: Effect) -> list[str]:
    """Sentences of what an effect breaks."""
    return [f"{holds.__name__}: {found}" for holds in OF_EFFECTS if (found := holds(facts, effect)) is not None]


def breaks_of_moment(facts: Facts, moment: Moment) -> list[str]:
    """Sentences of what does not hold at a moment."""
    return [f"{holds.__name__}: {found}" for holds in OF_MOMENTS if (found := holds(facts, moment)) is not None]
