"""Whether somebody walks the steps of a rollout, and a stand-in where nobody does."""

from engine.clock import NS_PER_S, Clock
from engine.rollout.due import next_due
from engine.rollout.journal import RecordType
from engine.rollout.orders import Orders
from engine.rollout.ports import StandIn
from engine.rollout.spec import RolloutSpec
from engine.rollout.state import RolloutState

GONE_S = 5.0
STUCK_S = 45.0
"""How long a flow may be gone, or make no progress that is due, before a stand-in takes its place."""

PATIENCE_S = 300.0
"""A stand-in that ends without getting anywhere is followed by another after twice the time, up to this."""


class FlowWatch:
    """Looks once per tick at what the flow has got done."""

    def __init__(self, spec: RolloutSpec, orders: Orders, stand_in: StandIn, clock: Clock) -> None:
        self._spec = spec
        self._orders = orders
        self._stand_in = stand_in
        self._clock = clock
        self._worked_ns = clock.mono_ns()
        self._seen = (0, 0)
        self._in_vain = 0

    def look(self, slowest_ns: int) -> None:
        """Put a stand-in where the flow died or hangs while something is due that needs no person.

        `slowest_ns` is the market clock of the service's slowest symbol.
        """
        state, now_ns = self._orders.state(), self._clock.mono_ns()
        is_working = self._stand_in.is_working()
        seen = (self._got_done(), slowest_ns if is_working and not self._is_late(state, slowest_ns) else 0)
        stage = state.current
        rests = state.outcome is not None or (stage is not None and stage.waits_for_a_person)
        if rests or seen[0] != self._seen[0]:
            self._in_vain = 0
        if rests or seen != self._seen:
            self._seen, self._worked_ns = seen, now_ns
        elif now_ns - self._worked_ns > self._patience_s(is_working) * NS_PER_S:
            self._stand_in.start()
            self._worked_ns = now_ns
            self._in_vain += 1

    def _got_done(self) -> int:
        """Number of the last record, not counting that somebody began to work."""
        records = self._orders.journal.records()
        at = len(records)
        while at and records[at - 1].type in (RecordType.FLOW_STARTED, RecordType.GUARDIAN_STARTED):
            at -= 1
        return at

    def _patience_s(self, is_working: bool) -> float:
        patience_s = STUCK_S if is_working else GONE_S
        return min(PATIENCE_S, patience_s * float(2**self._in_vain))

    def _is_late(self, state: RolloutState, slowest_ns: int) -> bool:
        """Whether the market is past the time of what is due: the end of a slot, or the start of a stage."""
        due = next_due(self._spec.plan, state)
        if due is None:
            return False
        name, slot = due
        stage = state.stage(name)
        if stage.start_ns is not None:
            return slowest_ns >= stage.start_ns + slot * self._spec.plan.stage(name).cadence_s * NS_PER_S
        ends_ns = [stage.end_ns for stage in state.stages if stage.end_ns is not None]
        return stage.is_deployed or slowest_ns >= max([self._spec.market_start_ns, *ends_ns])
