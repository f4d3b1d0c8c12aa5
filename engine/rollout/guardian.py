"""The guardian: each second it renews the lease, compares what runs with what should, and rolls back.

It is the only one that raises exposure, on an order it finds in the journal; everybody may lower it.
It knows no orchestrator, and needs none.
"""

import logging
from collections import deque
from typing import Any

from engine.clock import NS_PER_S, Clock
from engine.errors import RefusedError, ServiceError
from engine.rollout.deploying import Deploying
from engine.rollout.flow_watch import FlowWatch
from engine.rollout.journal import RecordType
from engine.rollout.orders import Orders
from engine.rollout.ports import Controlled, StandIn, Supervisor
from engine.rollout.rollback import Rollback
from engine.rollout.spec import RolloutSpec
from engine.rollout.state import PROMOTED, RolloutState, StageState
from engine.rollout.watch import Sight, back_condition, require_complete

logger = logging.getLogger(__name__)

TICK_S = 1.0
RENEW_S = 5.0
CRASH_LOOP = (3, 60.0)
"""So many deaths within so many seconds, and the service is started on the baseline only."""


class Fenced(RefusedError):
    """Another guardian has taken over."""


class Guardian:
    """One rollout's guardian. `name` tells it from others; call `start`, then `tick` each second."""

    def __init__(
        self, name: str, spec: RolloutSpec, orders: Orders, service: Controlled, supervisor: Supervisor,
        stand_in: StandIn, clock: Clock,
    ) -> None:  # fmt: skip
        self.name = name
        self._spec = spec
        self._orders = orders
        self._service = service
        self._supervisor = supervisor
        self._flow = FlowWatch(spec, orders, stand_in, clock)
        self._clock = clock
        self._rollback = Rollback(orders, service, supervisor, clock)
        self._deploying = Deploying(spec, orders, service, self._rollback, clock)
        self._renewed_ns: int | None = None
        self._answered_ns = self._moved_ns = clock.mono_ns()
        self._slowest_ns = -1
        self._deaths: deque[int] = deque(maxlen=CRASH_LOOP[0])

    def start(self) -> None:
        """Take over: whatever another guardian still wants is refused from here on. Raises JournalError."""
        body = {"guardian": self.name}
        self._orders.journal.append(RecordType.GUARDIAN_STARTED, body, actor="auto:guardian", epoch_up=True)

    def tick(self) -> None:
        """Look once, and do what has to be done. Raises Fenced, JournalError; a service that fails is no error here."""
        state = self._orders.state()
        if state.guardian != self.name:
            raise Fenced(f"guardian {state.guardian} has taken over from {self.name}")
        self._orders.journal.epoch = state.epoch
        try:
            self._act(state)
        except RefusedError as refusal:  # the journal has moved on: the next tick sees how
            logger.warning("not done: %s", refusal)
        self._flow.look(self._slowest_ns)

    def abandon(self) -> None:
        """The journal can be trusted or written no more: put the baseline back without it, as far as the service lets.

        What this does not reach, the lease does: nobody renews it from here on.
        """
        try:
            self._service.roll_back(int(self._service.status()["epoch"]))
        except (ServiceError, RefusedError) as error:
            logger.critical("the baseline could not be put back: %s", error)

    def _act(self, state: RolloutState) -> None:
        if self._rollback.carry_out() is not None:
            return
        self._keep_lease(state)
        sight = self._look()
        if not sight.is_alive:
            self._revive(state)
            return
        if state.is_restart_due and state.outcome is None:
            self._restart(on_baseline=False)  # re-armed after a restart on the baseline
        elif state.deploying is not None:
            self._deploying.deploy(state, state.deploying)
        elif state.drilling is not None:
            self._deploying.drill_again(state, state.drilling)
        else:
            self._judge(state, sight)

    def _judge(self, state: RolloutState, sight: Sight) -> None:
        state = self._note_reboot(state, sight)
        reason = back_condition(self._spec.plan, self._baseline(sight), state, sight)
        if reason is not None:
            self._orders.order_rollback(reason, "auto:guardian")
            self._rollback.carry_out()
        elif (
            state.outcome == PROMOTED and state.desired() and sight.status is not None and sight.status["latch"] is None
        ):
            self._deploying.keep_promoted(state, sight.status)
        elif sight.status is not None and not state.desired() and not _is_on_baseline(sight.status):
            self._service.roll_back(state.epoch)  # nothing was ordered to be live: lower what is

    def _note_reboot(self, state: RolloutState, sight: Sight) -> RolloutState:
        """A service with another boot than the one deployed to has died in between."""
        stage = state.deployed
        if stage is None or sight.status is None or sight.status["boot"] == stage.boot:
            return state
        self._note_death(stage, sight.status["boot"])
        return self._orders.state()

    def _note_death(self, stage: StageState, boot: str | None) -> None:
        if stage.boot is None and boot is None:
            return  # noted already
        body = {"before": stage.boot, "boot": boot}
        self._orders.journal.append(RecordType.SERVICE_DIED, body, stage=stage.name, actor="auto:guardian")

    def _baseline(self, sight: Sight) -> str:
        """Under the rollback switches the service's stable parameters are the baseline pinned to quiet."""
        return self._spec.baseline.fingerprint if sight.status is None else str(sight.status["stable"])

    def _keep_lease(self, state: RolloutState) -> None:
        """Renew every few seconds while something is live or about to be."""
        now_ns = self._clock.mono_ns()
        is_due = self._renewed_ns is None or now_ns - self._renewed_ns >= RENEW_S * NS_PER_S
        if not is_due or not (state.desired() or state.deploying):
            return
        try:
            self._service.renew(state.epoch)
            self._renewed_ns = now_ns
        except ServiceError:
            return  # seen and judged by the look that follows

    def _look(self) -> Sight:
        now_ns = self._clock.mono_ns()
        try:
            status: dict[str, Any] | None = require_complete(self._service.status())
            self._answered_ns = now_ns
        except ServiceError:
            status = None
        if status is not None:
            slowest_ns = int(status["health"]["slowest_symbol_ns"])
            has_to_move = status["end_ns"] is None or slowest_ns < min(status["horizon_ns"], status["end_ns"])
            if slowest_ns != self._slowest_ns or not has_to_move:
                self._slowest_ns, self._moved_ns = slowest_ns, now_ns
        is_alive = status is not None or self._supervisor.is_alive()
        return Sight(is_alive, status, (now_ns - self._answered_ns) / NS_PER_S, (now_ns - self._moved_ns) / NS_PER_S)

    def _revive(self, state: RolloutState) -> None:
        """The service is gone: in a stage that is a crash. Start it again, on the baseline once it dies too often."""
        stage = state.deployed
        if stage is not None and not state.is_aborted:
            self._note_death(stage, None)
            self._judge(self._orders.state(), Sight(False, None, 0.0, 0.0))
            if self._orders.state().is_aborted:
                return
        now_ns = self._clock.mono_ns()
        number, within_s = CRASH_LOOP
        is_loop = len(self._deaths) == number and now_ns - self._deaths[0] <= within_s * NS_PER_S
        self._deaths.append(now_ns)
        self._restart(on_baseline=is_loop or state.is_aborted)

    def _restart(self, *, on_baseline: bool) -> None:
        try:
            self._supervisor.restart(on_baseline=on_baseline)
        except ServiceError as error:
            logger.error("the service did not start: %s", error)
            return  # the next tick tries again
        self._answered_ns = self._moved_ns = self._clock.mono_ns()
        self._renewed_ns = None
        body = {"by": "guardian", "on_baseline": on_baseline}
        self._orders.journal.append(RecordType.SERVICE_STARTED, body, actor="auto:guardian")


def _is_on_baseline(status: dict[str, Any]) -> bool:
    return all(found == status["stable"] for found in status["live"].values())
