"""When the market is expected to be busy: daily windows in a named time zone."""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from engine.clock import NS_PER_S
from engine.strategy.params_parts import ScheduleParams, parse_window


class Schedule:
    """Daily windows by the clock on the wall of their zone, holidays and other days off left out.

    The half of a window after midnight belongs to the day it starts on.
    """

    def __init__(self, params: ScheduleParams) -> None:
        self._is_enabled = params.enabled
        self._zone = ZoneInfo(params.timezone)
        self._windows = [parse_window(text) for text in params.windows]
        self._weekdays = frozenset(params.weekdays)
        self._holidays = frozenset(date.fromisoformat(text) for text in params.holidays)

    def is_active(self, at_ns: int) -> bool:
        """Whether a window is open at that instant, start included, end excluded; never if disabled."""
        if not self._is_enabled:
            return False
        # Windows change on whole minutes, so whole seconds decide, and they are exact.
        local = datetime.fromtimestamp(at_ns // NS_PER_S, UTC).astimezone(self._zone)
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


@lru_cache(maxsize=1024)
def schedule_of(params: ScheduleParams) -> Schedule:
    """The schedule of these parameters, built once."""
    return Schedule(params)


@lru_cache(maxsize=1024)
def is_scheduled(schedule: Schedule, at_ns: int) -> bool:
    """`schedule.is_active(at_ns)`, which all symbols ask at the same instants."""
    return schedule.is_active(at_ns)
