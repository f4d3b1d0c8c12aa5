"""Lowering exposure: what was ordered is done, read back and written down. Anyone may do this, twice does no harm.

T1 asks the service over its control socket. If it does not answer or does not obey, T2 restarts it on
the baseline. If that fails as well, it is stopped: no signal is better than an unproven one.
"""

from typing import Any

from engine.clock import NS_PER_S, Clock
from engine.errors import RefusedError, ServiceError
from engine.rollout.journal import RecordType
from engine.rollout.orders import Orders
from engine.rollout.ports import Controlled, Supervisor
from engine.rollout.state import CONTROL_SOCKET, Order, RolloutState

T1 = CONTROL_SOCKET
T2 = "restart on baseline"
STOPPED = "service stopped"
T0 = "the service itself"

RESTARTS = 3
FLAT_WITHIN_S = 1.0
POLL_S = 0.02


class Rollback:
    """Carries out the orders that lower exposure."""

    def __init__(self, orders: Orders, service: Controlled, supervisor: Supervisor, clock: Clock) -> None:
        self._orders = orders
        self._service = service
        self._supervisor = supervisor
        self._clock = clock

    def carry_out(self) -> float | None:
        """Do what is ordered and has no outcome; return the seconds since the last of the orders, None if
        there was none.

        Raises JournalError, after the baseline is back, if the outcome cannot be written.
        """
        seconds: float | None = None
        while True:
            state = self._orders.state()
            if state.killing is not None:
                seconds = self._kill(state, state.killing)
            elif state.rolling_back is not None:
                seconds = self._roll_back(state, state.rolling_back)
            else:
                return seconds

    def force_baseline(self) -> str:
        """Put the baseline on every symbol without a journal, for when it cannot be written; return the tier."""
        try:
            epoch = int(self._service.status()["epoch"])
        except ServiceError:
            epoch = 0
        return self._baseline(epoch, None)

    def _roll_back(self, state: RolloutState, order: Order) -> float:
        tier = self._baseline(state.epoch, order.symbols)
        symbols = order.symbols if tier == T1 else None  # a restart takes every symbol back
        return self._write(RecordType.ROLLED_BACK, order, tier, None if symbols is None else list(symbols), {})

    def _baseline(self, epoch: int, symbols: tuple[str, ...] | None) -> str:
        try:
            self._service.roll_back(epoch, None if symbols is None else list(symbols))
            require_baseline(self._service.status(), symbols)
            return T1
        except (ServiceError, RefusedError):
            return self._restart(epoch)

    def _restart(self, epoch: int) -> str:
        for _ in range(RESTARTS):
            try:
                self._supervisor.restart(on_baseline=True)
                self._service.roll_back(epoch)  # so that it knows of the abort, whatever it had kept
                require_baseline(self._service.status(), None)
                return T2
            except (ServiceError, RefusedError):
                continue
        self._supervisor.stop()
        return STOPPED

    def _kill(self, state: RolloutState, order: Order) -> float:
        symbols = None if order.symbols is None else list(order.symbols)
        try:
            status = self._until_flat(state.epoch, symbols)
            tier, everything = T1, sorted(status["live"])
        except (ServiceError, RefusedError):
            self._supervisor.stop()
            tier, symbols, everything = STOPPED, None, sorted(state.desired())
        return self._write(RecordType.KILLED, order, tier, symbols, {"all": everything})

    def _until_flat(self, epoch: int, symbols: list[str] | None) -> dict[str, Any]:
        status = self._service.kill(epoch, symbols)
        started_ns = self._clock.mono_ns()
        while not status["flat"]:
            if self._clock.mono_ns() - started_ns > FLAT_WITHIN_S * NS_PER_S:
                raise ServiceError("the service still holds positions after the kill")
            self._clock.sleep(POLL_S)
            status = self._service.status()
        require_baseline(status, None if symbols is None else tuple(symbols))
        return status

    def _write(
        self, type_: RecordType, order: Order, tier: str, symbols: list[str] | None, more: dict[str, Any]
    ) -> float:
        seconds = self._seconds_since(order)
        body = {
            "reason": order.reason,
            "seconds": seconds,
            "tier": tier,
            "symbols": symbols,
            "order": order.seq,
            **more,
        }
        step = f"{type_.value}/{order.seq}"
        attempt = self._orders.state().attempt
        record = self._orders.once(step, type_, body, lambda state: None, attempt, stage=order.stage, actor=order.actor)
        return float(record.body["seconds"])

    def _seconds_since(self, order: Order) -> float:
        """Time since the order; the clocks of two boots do not compare, so after a reboot since this boot began."""
        same_boot = order.boot_id == self._clock.boot_id()
        return (self._clock.mono_ns() - (order.mono_ns if same_boot else 0)) / NS_PER_S


def require_baseline(status: dict[str, Any], symbols: tuple[str, ...] | None) -> None:
    """Raise ServiceError unless the signal path of the service says that these symbols run its stable parameters."""
    live, stable = status.get("live", {}), status.get("stable")
    wrong = sorted(symbol for symbol in (live if symbols is None else symbols) if live.get(symbol) != stable)
    if wrong or not live:
        first = wrong[0] if wrong else "no symbol"
        raise ServiceError(f"{first} runs {live.get(first)} after the rollback, not the baseline {stable}")
