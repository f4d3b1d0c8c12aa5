"""The mode of one symbol as an object that remembers: what the pure policy is held against."""

from engine.strategy.calendar import Schedule
from engine.strategy.mode import Activity, Mode, Reason, Transition, market_is_active
from engine.strategy.params import StrategyParams


class ModeManager:
    """The mode of one symbol in one arm."""

    def __init__(self, params: StrategyParams) -> None:
        self.mode = Mode.QUIET
        self.schedule_active = False
        self.market_active = False
        self._agreeing = 0
        self._params = params
        self._schedule = Schedule(params.schedule)

    def on_window(self, at_ns: int, activity: Activity) -> Transition | None:
        """Judge one closed market window; return the change it completes, if any."""
        market = self._params.market
        self.schedule_active = self._schedule.is_active(at_ns)
        self.market_active = market_is_active(activity, market)
        if self._is_pinned():
            return self._obey_pin(at_ns)
        wanted = Mode.ACTIVE if self.schedule_active or self.market_active else Mode.QUIET
        if wanted is self.mode:
            self._agreeing = 0
            return None
        self._agreeing += 1
        if self._agreeing < self._windows_needed(wanted):
            return None
        return self._switch(wanted, Reason.SCHEDULE if self._by_schedule(wanted) else Reason.MARKET, at_ns)

    def _is_pinned(self) -> bool:
        return self._params.mode != "auto" or not self._params.dynamic_mode_enabled

    def _obey_pin(self, at_ns: int) -> Transition | None:
        if not self._is_pinned():
            return None
        pinned = Mode.ACTIVE if self._params.mode == "active" else Mode.QUIET
        return None if pinned is self.mode else self._switch(pinned, Reason.MANUAL, at_ns)

    def _windows_needed(self, wanted: Mode) -> int:
        hysteresis = self._params.hysteresis
        return hysteresis.min_active_windows if wanted is Mode.ACTIVE else hysteresis.min_quiet_windows

    def _by_schedule(self, wanted: Mode) -> bool:
        if wanted is Mode.ACTIVE:
            return self.schedule_active
        return self._params.schedule.enabled and not self._params.market.enabled

    def _switch(self, after: Mode, reason: Reason, at_ns: int) -> Transition:
        transition = Transition(at_ns, self.mode, after, reason)
        self.mode = after
        self._agreeing = 0
        return transition
