"""When a symbol is active: schedule, market, hysteresis and pins."""

from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.strategy import layout
from engine.strategy.calendar import Schedule, schedule_of
from engine.strategy.mode import (
    MODES,
    REASONS,
    Activity,
    Mode,
    ModeState,
    Reason,
    Transition,
    decide,
    force,
    market_is_active,
    transition_diff,
)
from engine.strategy.params import ScheduleParams, StrategyParams, parse_window
from tests.making import T0, S, params_with
from tests.oracle.modes import ModeManager

START = ModeState(Mode.QUIET, 0, Mode.QUIET)
EVERY_DAY = (0, 1, 2, 3, 4, 5, 6)
WEEKDAYS = (0, 1, 2, 3, 4)

BUSY = Activity(trades_per_min=200.0, quote_updates_per_sec=20.0, spread_bps=1.0, volatility_bps=5.0, volume_usd=5e3)
CALM = Activity(trades_per_min=1.0, quote_updates_per_sec=1.0, spread_bps=1.0, volatility_bps=0.1, volume_usd=1.0)


def ns(text: str, zone: str = "UTC", fold: int = 0) -> int:
    """Nanoseconds of a local time, `fold` 1 for the second time a clock shows it."""
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return round(local.timestamp()) * S


def schedule(
    *windows: str, zone: str = "UTC", weekdays: tuple[int, ...] = EVERY_DAY, holidays: tuple[str, ...] = ()
) -> Schedule:
    return Schedule(ScheduleParams(True, zone, windows, weekdays, holidays))


@pytest.mark.parametrize(
    ("at", "is_open"),
    [
        pytest.param("2025-01-06T08:59:59", False, id="a second before the start"),
        pytest.param("2025-01-06T09:00:00", True, id="the start is inside"),
        pytest.param("2025-01-06T11:59:59", True, id="the last second"),
        pytest.param("2025-01-06T12:00:00", False, id="the end is outside"),
        pytest.param("2025-01-06T20:59:59", False, id="before the night window"),
        pytest.param("2025-01-06T21:00:00", True, id="the night window starts"),
        pytest.param("2025-01-06T23:59:59", True, id="before midnight"),
        pytest.param("2025-01-07T00:00:00", True, id="at midnight"),
        pytest.param("2025-01-07T01:59:59", True, id="after midnight"),
        pytest.param("2025-01-07T02:00:00", False, id="the night window ends"),
    ],
)
def test_a_window_is_open_from_its_start_until_before_its_end(at: str, is_open: bool) -> None:
    assert schedule("09:00-12:00", "21:00-02:00").is_active(ns(at)) is is_open


def test_a_nanosecond_decides() -> None:
    assert not schedule("09:00-12:00").is_active(ns("2025-01-06T09:00:00") - 1)
    assert schedule("09:00-12:00").is_active(ns("2025-01-06T12:00:00") - 1)


def test_a_disabled_schedule_is_never_active() -> None:
    always = ScheduleParams(False, "UTC", ("00:00-12:00", "12:00-00:00"), EVERY_DAY, ())

    assert not Schedule(always).is_active(T0)
    assert Schedule(replace(always, enabled=True)).is_active(T0)


@pytest.mark.parametrize(
    ("at", "is_open"),
    [
        pytest.param("2025-01-10T22:00:00", True, id="Friday night"),
        pytest.param("2025-01-11T01:00:00", True, id="Saturday early belongs to Friday"),
        pytest.param("2025-01-11T22:00:00", False, id="Saturday night"),
        pytest.param("2025-01-13T01:00:00", False, id="Monday early belongs to Sunday"),
        pytest.param("2025-01-13T22:00:00", True, id="Monday night"),
        pytest.param("2025-01-14T22:00:00", False, id="the holiday itself"),
        pytest.param("2025-01-15T01:00:00", False, id="the morning after the holiday belongs to it"),
        pytest.param("2025-01-14T01:00:00", True, id="the holiday's early morning belongs to the day before"),
    ],
)
def test_weekdays_and_holidays_speak_of_the_day_a_window_starts_on(at: str, is_open: bool) -> None:
    night = schedule("21:00-02:00", weekdays=WEEKDAYS, holidays=("2025-01-14",))

    assert night.is_active(ns(at)) is is_open


@pytest.mark.parametrize(
    ("at_utc", "is_open"),
    [
        pytest.param("2025-01-06T14:30:00", True, id="winter opening at 14:30 UTC"),
        pytest.param("2025-01-06T13:30:00", False, id="winter an hour earlier is closed"),
        pytest.param("2025-07-07T13:30:00", True, id="summer opening at 13:30 UTC"),
        pytest.param("2025-07-07T20:00:00", False, id="summer closing at 20:00 UTC"),
        pytest.param("2025-03-07T14:29:59", False, id="the Friday before clocks go forward"),
        pytest.param("2025-03-10T13:30:00", True, id="the Monday after clocks went forward"),
        pytest.param("2025-10-31T13:30:00", True, id="the Friday before clocks go back"),
        pytest.param("2025-11-03T13:30:00", False, id="the Monday after clocks went back"),
        pytest.param("2025-11-03T14:30:00", True, id="the Monday after clocks went back, an hour later"),
    ],
)
def test_a_window_keeps_its_local_time_when_clocks_change(at_utc: str, is_open: bool) -> None:
    assert schedule("09:30-16:00", zone="America/New_York").is_active(ns(at_utc)) is is_open


@pytest.mark.parametrize(
    ("night", "hours_open"),
    [
        pytest.param("2025-03-01", 5, id="an ordinary night"),
        pytest.param("2025-03-08", 4, id="an hour is skipped in spring"),
        pytest.param("2025-11-01", 6, id="an hour is repeated in autumn"),
    ],
)
def test_a_night_window_lasts_as_long_as_its_local_hours(night: str, hours_open: int) -> None:
    ny = schedule("22:00-03:00", zone="America/New_York")
    noon = ns(f"{night}T12:00:00", "America/New_York")

    minutes = sum(ny.is_active(noon + minute * 60 * S) for minute in range(0, 24 * 60, 30))

    assert minutes == 2 * hours_open


@pytest.mark.parametrize(
    ("at_utc", "is_open"),
    [
        pytest.param("2025-03-09T06:59:59", False, id="01:59:59 before clocks go forward"),
        pytest.param("2025-03-09T07:00:00", True, id="03:00 follows at once: the start was skipped"),
        pytest.param("2025-03-09T07:59:59", True, id="until the end"),
        pytest.param("2025-03-09T08:00:00", False, id="04:00 is the end"),
        pytest.param("2025-11-02T07:29:59", False, id="02:29:59 in autumn, after the repeated hour"),
        pytest.param("2025-11-02T07:30:00", True, id="02:30 in autumn"),
    ],
)
def test_a_window_that_starts_in_the_skipped_hour_opens_when_clocks_have_gone_forward(
    at_utc: str, is_open: bool
) -> None:
    assert schedule("02:30-04:00", zone="America/New_York").is_active(ns(at_utc)) is is_open


@pytest.mark.parametrize(
    ("at", "is_open"),
    [
        pytest.param("2025-03-09T02:00:00", True, id="Sunday early belongs to Saturday, on the short night"),
        pytest.param("2025-03-10T01:00:00", False, id="Monday early belongs to Sunday"),
        pytest.param("2025-11-02T01:30:00", True, id="Sunday early belongs to Saturday, on the long night"),
        pytest.param("2025-11-03T01:30:00", False, id="Monday early after the long night"),
    ],
)
def test_the_half_after_midnight_belongs_to_the_start_day_when_clocks_change(at: str, is_open: bool) -> None:
    saturdays = schedule("22:00-04:00", zone="America/New_York", weekdays=(5,))

    assert saturdays.is_active(ns(at, "America/New_York")) is is_open


def test_the_hour_that_repeats_is_open_both_times() -> None:
    ny = schedule("01:00-02:00", zone="America/New_York")

    assert ny.is_active(ns("2025-11-02T01:30:00", "America/New_York"))
    assert ny.is_active(ns("2025-11-02T01:30:00", "America/New_York", fold=1))
    assert not ny.is_active(ns("2025-11-02T02:00:00", "America/New_York"))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("09:00", id="no end"),
        pytest.param("09:00-", id="an empty end"),
        pytest.param("9-12", id="hours of one digit"),
        pytest.param("09-12", id="hours alone"),
        pytest.param("0900-1200", id="no colons"),
        pytest.param("25:00-26:00", id="no such hour"),
        pytest.param("09:60-10:00", id="no such minute"),
        pytest.param("09:00-12:00-13:00", id="three times"),
        pytest.param("09:00+01:00-12:00", id="a zone of its own"),
        pytest.param("09:00-09:00", id="it ends where it starts"),
        pytest.param("nine to five", id="words"),
    ],
)
def test_a_malformed_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"schedule.windows? must .*was"):
        parse_window(text)


@pytest.mark.parametrize(
    ("change", "is_active"),
    [
        pytest.param({}, True, id="every threshold holds"),
        pytest.param({"trades_per_min": 100.0, "spread_bps": 5.0}, True, id="exactly on the thresholds"),
        pytest.param({"trades_per_min": 99.9}, False, id="too few trades"),
        pytest.param({"quote_updates_per_sec": 9.9}, False, id="too few quotes"),
        pytest.param({"spread_bps": 5.1}, False, id="the spread is wide"),
        pytest.param({"volatility_bps": 0.9}, False, id="prices do not move"),
        pytest.param({"volume_usd": 999.0}, False, id="too little is traded"),
        pytest.param({"spread_bps": None}, False, id="an unknown spread is not activity"),
        pytest.param({"volatility_bps": None}, False, id="an unknown volatility is not activity"),
        pytest.param({"spread_bps": float("nan")}, False, id="a spread that is no number is not activity"),
        pytest.param({"volume_usd": float("nan")}, False, id="a volume that is no number is not activity"),
    ],
)
def test_the_market_is_active_only_if_every_threshold_holds(change: dict[str, Any], is_active: bool) -> None:
    fields = {name: getattr(BUSY, name) for name in Activity.__slots__} | change

    assert market_is_active(Activity(**fields), params_with().market) is is_active


def test_a_disabled_market_trigger_is_never_active() -> None:
    assert not market_is_active(BUSY, params_with({"market.enabled": False}).market)


def test_modes_and_reasons_have_the_numbers_of_the_memory_layout() -> None:
    assert MODES.index(Mode.QUIET) == layout.QUIET
    assert MODES.index(Mode.ACTIVE) == layout.ACTIVE
    numbers = {
        Reason.SCHEDULE: layout.SCHEDULE,
        Reason.MARKET: layout.MARKET_TRIGGER,
        Reason.MANUAL: layout.MANUAL,
        Reason.GUARDRAIL: layout.GUARDRAIL,
    }
    assert {reason: REASONS.index(reason) for reason in Reason} == numbers


def judge(
    state: ModeState, params: StrategyParams, windows: str, start_ns: int = T0
) -> tuple[ModeState, str, list[Transition]]:
    """Feed windows, `b` busy and `c` calm; return the last state, the mode after each, `A` or `Q`, and the changes."""
    shown, changes = "", []
    calendar = Schedule(params.schedule)
    for number, kind in enumerate(windows, start=1):
        at_ns = start_ns + number * S
        busy = market_is_active(BUSY if kind == "b" else CALM, params.market)
        state, transition = decide(state, calendar.is_active(at_ns), busy, params, at_ns)
        shown += "A" if state.mode is Mode.ACTIVE else "Q"
        changes += [transition] if transition is not None else []
    return state, shown, changes


def modes_after(params: StrategyParams, windows: str) -> str:
    return judge(START, params, windows)[1]


@pytest.mark.parametrize(
    ("windows", "modes"),
    [
        pytest.param("bbbb", "QQAA", id="the third busy window in a row activates"),
        pytest.param("bbcbbb", "QQQQQA", id="a calm window restarts counting up"),
        pytest.param("bcbcbc", "QQQQQQ", id="flicker changes nothing"),
        pytest.param("bbbcc", "QQAAQ", id="the second calm window in a row quiets"),
        pytest.param("bbbcbcc", "QQAAAAQ", id="a busy window restarts counting down"),
        pytest.param("bbbccbb", "QQAAQQQ", id="counting starts over after a switch"),
        pytest.param("cccc", "QQQQ", id="calm stays quiet"),
    ],
)
def test_the_mode_changes_after_enough_windows_in_a_row(windows: str, modes: str) -> None:
    assert modes_after(params_with(), windows) == modes


@settings(max_examples=100, deadline=None)
@given(
    windows=st.text("bc", max_size=60),
    up=st.integers(1, 6),
    down=st.integers(1, 6),
    mode=st.sampled_from(["auto", "active", "quiet"]),
    has_schedule=st.booleans(),
    has_market=st.booleans(),
)
def test_the_policy_agrees_with_one_that_remembers(
    windows: str, up: int, down: int, mode: str, has_schedule: bool, has_market: bool
) -> None:
    params = params_with(
        {
            "hysteresis": {"min_active_windows": up, "min_quiet_windows": down},
            "mode": mode,
            "schedule.enabled": has_schedule,
            "schedule.windows": ["00:00-00:01"],
            "market.enabled": has_market,
            "market.window_secs": 1.0,
        }
    )
    manager = ModeManager(params)
    activities = [BUSY if kind == "b" else CALM for kind in windows]

    remembered = [manager.on_window(T0 + n * 3 * S, seen) for n, seen in enumerate(activities, start=1)]

    state, changes = START, []
    for number, seen in enumerate(activities, start=1):
        at_ns = T0 + number * 3 * S
        is_open, is_busy = schedule_of(params.schedule).is_active(at_ns), market_is_active(seen, params.market)
        state, change = decide(state, is_open, is_busy, params, at_ns)
        changes.append(change)
    assert changes == remembered
    assert state.mode is manager.mode


def test_a_change_of_mode_says_when_between_which_and_why() -> None:
    params = params_with({"hysteresis.min_active_windows": 1})

    _, _, changes = judge(START, params, "b")

    assert changes == [Transition(T0 + S, Mode.QUIET, Mode.ACTIVE, Reason.MARKET)]


ALL_DAY = {"schedule.enabled": True, "schedule.windows": ["00:00-12:00", "12:00-00:00"]}
ONE_WINDOW = {"hysteresis.min_active_windows": 1, "hysteresis.min_quiet_windows": 1}
SHORT = {"schedule.enabled": True, "schedule.windows": ["00:00-00:01"]}


@pytest.mark.parametrize(
    ("changes", "windows", "reasons"),
    [
        pytest.param({}, "bc", [Reason.MARKET, Reason.MARKET], id="the market both ways"),
        pytest.param(ALL_DAY, "c", [Reason.SCHEDULE], id="the schedule in a calm market"),
        pytest.param(ALL_DAY, "b", [Reason.SCHEDULE], id="the schedule goes before a busy market"),
        pytest.param(
            SHORT | {"market.enabled": False}, "c" * 61, [Reason.SCHEDULE, Reason.SCHEDULE],
            id="the schedule both ways where the market has no say",
        ),
        pytest.param(
            SHORT, "c" * 61, [Reason.SCHEDULE, Reason.MARKET], id="both had to be inactive: the market is named"
        ),
    ],
)  # fmt: skip
def test_the_reason_is_the_trigger_that_decided(changes: dict[str, Any], windows: str, reasons: list[Reason]) -> None:
    params = params_with(ONE_WINDOW | changes)

    _, _, transitions = judge(START, params, windows)

    assert [transition.reason for transition in transitions] == reasons


def test_a_disabled_schedule_and_a_disabled_market_activate_nothing() -> None:
    changes = {"schedule.windows": ["00:00-23:59"], "market.enabled": False, "hysteresis.min_active_windows": 1}

    assert modes_after(params_with(changes), "bbbb") == "QQQQ"


PINS = [
    pytest.param({"mode": "active"}, "cccc", "AAAA", id="pinned active in a calm market"),
    pytest.param({"mode": "quiet"}, "bbbb", "QQQQ", id="pinned quiet in a busy market"),
    pytest.param({"dynamic_mode_enabled": False}, "bbbb", "QQQQ", id="switching disabled holds quiet"),
    pytest.param({"dynamic_mode_enabled": False, "mode": "active"}, "bbbb", "AAAA", id="an active pin still holds"),
]


@pytest.mark.parametrize(("pin", "windows", "modes"), PINS)
def test_a_pin_holds_whatever_the_market_does(pin: dict[str, Any], windows: str, modes: str) -> None:
    assert modes_after(params_with(pin), windows) == modes


def test_a_guardrail_quiets_at_once_and_is_named() -> None:
    params = params_with()
    state, _, _ = judge(START, params, "bbb")

    after, transition = force(state, Mode.QUIET, Reason.GUARDRAIL, T0 + 4 * S)

    assert after.mode is Mode.QUIET
    assert transition == Transition(T0 + 4 * S, Mode.ACTIVE, Mode.QUIET, Reason.GUARDRAIL)


def test_a_dry_run_records_the_changes_of_a_real_run_and_stays_in_its_mode() -> None:
    windows = "bbbbccbccbbbbcc"
    real, dry = params_with(), params_with({"dry_run": True})

    _, real_modes, real_changes = judge(START, real, windows)
    state, dry_modes, dry_changes = judge(START, dry, windows)

    assert real_modes.count("A") > 0
    assert dry_modes == "Q" * len(windows)
    assert dry_changes == [replace(change, is_dry_run=True) for change in real_changes]
    assert state.mode is Mode.QUIET


def test_a_change_of_mode_tells_what_it_changes() -> None:
    params = params_with({"quiet.risk.position_limit": 0.2, "quiet.ofi.bucket_ms": 250})

    diff = transition_diff(Transition(T0, Mode.QUIET, Mode.ACTIVE, Reason.MARKET), params)

    assert diff == {"ofi.bucket_ms": (250, 100), "risk.position_limit": (0.2, 0.5)}
