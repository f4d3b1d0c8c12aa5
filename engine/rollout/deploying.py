"""Raising exposure: drill, deploy, read back. Only the guardian does this, on an order it finds in the journal."""

import logging
from collections.abc import Callable
from typing import Any

from engine.clock import NS_PER_S, Clock
from engine.errors import GraygateError, RefusedError, ServiceError
from engine.rollout.journal import RecordType
from engine.rollout.orders import Orders
from engine.rollout.ports import Controlled
from engine.rollout.rollback import Rollback, require_baseline
from engine.rollout.spec import RolloutSpec
from engine.rollout.state import Order, RolloutState
from engine.rollout.watch import differences, require_complete

logger = logging.getLogger(__name__)


class Deploying:
    """Carries out the orders that raise exposure. `rollback` takes back what does not succeed."""

    def __init__(
        self, spec: RolloutSpec, orders: Orders, service: Controlled, rollback: Rollback, clock: Clock
    ) -> None:  # fmt: skip
        self._spec = spec
        self._orders = orders
        self._service = service
        self._rollback = rollback
        self._clock = clock

    def deploy(self, state: RolloutState, order: Order) -> None:
        """Drill, deploy, read back; on any failure nothing is live and the rollout goes back."""
        stage = order.stage or ""
        try:
            before = self._clear_latch(state)
            self._service.renew(state.epoch)
            if state.stage(stage).drill_seconds is None:
                self._drill(state, stage, order.symbols or ())
            status = self._apply(state, stage, order.symbols or ())
        except ServiceError as error:
            self._refuse(stage, error)
            return
        except RefusedError as error:
            if self._orders.state().epoch == state.epoch:
                self._refuse(stage, error)
            return
        release = self._spec.releases[stage]
        body = {
            "symbols": list(order.symbols or ()), "fingerprint": release.fingerprint, "boot": status["boot"],
            "alerts": sum(before["health"]["alerts"].values()),
        }  # fmt: skip
        self._note(state, state.step(stage, "deploy"), RecordType.DEPLOYED, body, stage)

    def _refuse(self, stage: str, error: GraygateError) -> None:
        self._orders.journal.append(
            RecordType.DEPLOY_REFUSED, {"reason": str(error)}, stage=stage, actor="auto:guardian"
        )
        self._orders.order_rollback(f"stage {stage} could not be deployed: {error}", "auto:guardian", stage=stage)
        self._rollback.carry_out()

    def _drill(self, state: RolloutState, stage: str, symbols: tuple[str, ...]) -> None:
        """Roll back before you roll out: apply, take back, read back; the time of the way back is written down."""
        self._apply(state, stage, symbols)
        seconds = self._timed_rollback(state)
        body = {"seconds": seconds, "symbols": list(symbols), "on_demand": False}
        self._note(state, state.step(stage, "drill"), RecordType.DRILLED, body, stage)

    def drill_again(self, state: RolloutState, order: Order) -> None:
        """A drill on demand: what is live goes back, is read back, and is put in force again."""
        stage = state.deployed
        if stage is None:
            return
        try:
            seconds = self._timed_rollback(state)
            self._apply(state, stage.name, state.desired())
        except ServiceError as error:
            self._orders.order_rollback(f"a drill failed: {error}", "auto:guardian")
            self._rollback.carry_out()
            return
        body = {"seconds": seconds, "symbols": list(state.desired()), "on_demand": True}
        self._note(state, f"drill/{order.seq}", RecordType.DRILLED, body, stage.name, order.actor)

    def _note(
        self, state: RolloutState, step: str, type_: RecordType, body: dict[str, Any], stage: str,
        actor: str = "auto:guardian",
    ) -> None:  # fmt: skip
        """Write an outcome, unless something was ordered since `state` that takes precedence. Raises RefusedError."""
        self._orders.once(step, type_, body, _require_current(state), state.attempt, stage=stage, actor=actor)

    def _timed_rollback(self, state: RolloutState) -> float:
        started_ns = self._clock.mono_ns()
        self._service.roll_back(state.epoch)
        require_baseline(self._service.status(), None)
        return (self._clock.mono_ns() - started_ns) / NS_PER_S

    def _apply(self, state: RolloutState, stage: str, symbols: tuple[str, ...]) -> dict[str, Any]:
        """Deploy on all symbols or none, and read back what every symbol runs. Raises ServiceError, RefusedError."""
        release = self._spec.releases[stage]
        self._service.apply(
            rollout_id=self._spec.rollout, stage=stage, epoch=state.epoch, fingerprint=release.fingerprint,
            params=release.params, live=list(symbols),
        )  # fmt: skip
        status = self._service.status()
        different = differences(status["live"], status["stable"], symbols, release.fingerprint)
        if different:
            symbol, found, wanted = different[0]
            raise ServiceError(f"{symbol} runs {found} after the deploy, not {wanted}")
        return status

    def _clear_latch(self, state: RolloutState) -> dict[str, Any]:
        """What a person re-armed, the service may forget; never what made it stop since then. Raises RefusedError."""
        status = require_complete(self._service.status())
        latch = status["latch"]
        if state.killed or (latch is not None and latch["epoch"] >= state.rearmed_epoch):
            raise RefusedError("the service was stopped, and nobody has re-armed it since; graygate rearm")
        if latch is not None or status["killed"]:
            self._service.rearm(state.epoch)
        return status

    def keep_promoted(self, state: RolloutState, status: dict[str, Any]) -> None:
        """What was promoted is production: a service that was started again is brought back to it."""
        stage = state.deployed
        if stage is None or all(status["live"].get(symbol) == stage.fingerprint for symbol in state.desired()):
            return
        try:
            self._service.renew(state.epoch)
            self._apply(state, stage.name, state.desired())
        except ServiceError as error:
            logger.error("the promoted parameters are not in force: %s", error)


def _require_current(before: RolloutState) -> Callable[[RolloutState], None]:
    """A check for outcomes: nothing was ordered meanwhile that takes precedence."""

    def check(state: RolloutState) -> None:
        if state.epoch != before.epoch or state.is_aborted:
            raise RefusedError("the rollout was aborted meanwhile")

    return check
