"""Active or quiet: schedule and market triggers with hysteresis.

`active` = schedule active OR market active. A symbol goes active after
`min_active_windows` market windows in a row that say so, and quiet after
`min_quiet_windows` in a row in which neither says so. Pins take effect at once.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from engine.clock import NS_PER_S
from engine.strategy.params import MarketParams, ScheduleParams, StrategyParams, parse_window


class Mode(StrEnum):
    """Which of the two parameter sets a symbol runs on."""

    ACTIVE = "active"
    QUIET = "quiet"


class Reason(StrEnum):
    """Why a mode changed."""

    SCHEDULE = "schedule"
    MARKET = "market"
    MANUAL = "manual"
    GUARDRAIL = "guardrail"


@dataclass(frozen=True, slots=True)
class Activity:
    """What one market window looked like. Spread and volatility are None when there were no quotes.

    `volatility_bps` is the realised volatility of one-second mid returns, scaled to a minute;
    `volume_usd` is scaled to a minute as well.
    """

    trades_per_min: float
    quote_updates_per_sec: float
    spread_bps: float | None
    volatility_bps: float | None
    volume_usd: float


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of mode."""

    at_ns: int
    before: Mode
    after: Mode
    reason: Reason


class Schedule:
    """Daily windows in a named time zone."""

    def __init__(self, params: ScheduleParams) -> None:
        self._zone = ZoneInfo(params.timezone)
        self._windows = [parse_window(text) for text in params.windows]
        self._weekdays = frozenset(params.weekdays)
        self._holidays = frozenset(date.fromisoformat(text) for text in params.holidays)

    def is_active(self, at_ns: int) -> bool:
        """Whether a window is open at that instant, start included, end excluded."""
        local = datetime.fromtimestamp(at_ns / NS_PER_S, UTC).astimezone(self._zone)
        return any(self._is_open(start, end, local) for start, end in self._windows)

    def _is_open(self, start: time, end: time, local: datetime) -> bool:
        now, today = local.time(), local.date()
        if start < end:
            return start <= now < end and self._is_business(today)
        if now >= start:
            return self._is_business(today)
        return now < end and self._is_business(today - timedelta(days=1))

    def _is_business(self, day: date) -> bool:
        return day.weekday() in self._weekdays and day not in self._holidays


def market_is_active(activity: Activity, params: MarketParams) -> bool:
    """Whether every threshold holds; an unknown spread or volatility is not activity."""
    if activity.spread_bps is None or activity.volatility_bps is None:
        return False
    return (
        activity.trades_per_min >= params.min_trades_per_min
        and activity.quote_updates_per_sec >= params.min_quote_updates_per_sec
        and activity.spread_bps <= params.max_spread_bps
        and activity.volatility_bps >= params.min_volatility_bps
        and activity.volume_usd >= params.min_volume_usd
    )


class ModeManager:
    """The mode of one symbol in one arm."""

    def __init__(self, params: StrategyParams) -> None:
        self.mode = Mode.QUIET
        self.schedule_active = False
        self.market_active = False
        self._agreeing = 0
        self._adopt(params)
        if params.mode == "active":
            self.mode = Mode.ACTIVE

    def _adopt(self, params: StrategyParams) -> None:
        self._params = params
        self._schedule = Schedule(params.schedule)

    def change_params(self, params: StrategyParams, at_ns: int) -> Transition | None:
        """Take new parameters. A pin applies at once; counting towards a switch starts over."""
        self._adopt(params)
        self._agreeing = 0
        return self._obey_pin(at_ns)

    def on_window(self, at_ns: int, activity: Activity) -> Transition | None:
        """Judge one closed market window; return the change it completes, if any."""
        market = self._params.market
        self.schedule_active = self._params.schedule.enabled and self._schedule.is_active(at_ns)
        self.market_active = market.enabled and market_is_active(activity, market)
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
