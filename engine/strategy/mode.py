"""Active or quiet: schedule and market triggers with hysteresis.

`active` = schedule active OR market active. A symbol goes active after
`min_active_windows` market windows in a row that say so, and quiet after
`min_quiet_windows` in a row in which neither says so. Pins take effect at once.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from engine.strategy.params import MarketParams, ModeParams, StrategyParams, params_diff


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


MODES = (Mode.QUIET, Mode.ACTIVE)
"""By the number that the memory layout has for each."""

REASONS = (Reason.SCHEDULE, Reason.MARKET, Reason.MANUAL, Reason.GUARDRAIL)
"""By the number that the memory layout has for each."""


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
    """One change of mode; in a dry run the change that would have been."""

    at_ns: int
    before: Mode
    after: Mode
    reason: Reason
    is_dry_run: bool = False


@dataclass(frozen=True, slots=True)
class ModeState:
    """Where a symbol stands. `agreeing` counts windows in a row that speak against `decided`.

    `decided` is what the rules arrived at. It differs from `mode` in a dry run only.
    """

    mode: Mode
    agreeing: int
    decided: Mode


def market_is_active(activity: Activity, params: MarketParams) -> bool:
    """Whether the trigger is enabled and every threshold holds; an unknown spread or volatility is not activity."""
    if not params.enabled or activity.spread_bps is None or activity.volatility_bps is None:
        return False
    return (
        activity.trades_per_min >= params.min_trades_per_min
        and activity.quote_updates_per_sec >= params.min_quote_updates_per_sec
        and activity.spread_bps <= params.max_spread_bps
        and activity.volatility_bps >= params.min_volatility_bps
        and activity.volume_usd >= params.min_volume_usd
    )


def pinned_mode(params: StrategyParams) -> Mode | None:
    """The mode that these parameters hold whatever the market does, None if triggers decide."""
    if params.mode == "auto":
        return None if params.dynamic_mode_enabled else Mode.QUIET
    return Mode(params.mode)


def mode_params(params: StrategyParams, mode: Mode) -> ModeParams:
    """The parameter set of a mode."""
    return params.active if mode is Mode.ACTIVE else params.quiet


def decide(
    state: ModeState, schedule_active: bool, market_active: bool, params: StrategyParams, at_ns: int
) -> tuple[ModeState, Transition | None]:
    """Judge one closed market window; return the state after it and the change it completes, if any.

    `params` are those of the symbol. In a dry run the change is returned and `state.mode` stays.
    """
    pinned = pinned_mode(params)
    if pinned is not None:
        return force(state, pinned, Reason.MANUAL, at_ns)
    wanted = Mode.ACTIVE if schedule_active or market_active else Mode.QUIET
    if wanted is state.decided:
        return replace(state, agreeing=0), None
    if state.agreeing + 1 < _windows_needed(wanted, params):
        return replace(state, agreeing=state.agreeing + 1), None
    reason = _reason(wanted, schedule_active, params)
    transition = Transition(at_ns, state.decided, wanted, reason, is_dry_run=params.dry_run)
    return ModeState(state.mode if params.dry_run else wanted, 0, wanted), transition


def force(state: ModeState, mode: Mode, reason: Reason, at_ns: int) -> tuple[ModeState, Transition | None]:
    """Put a symbol into a mode at once, dry run or not: a person's pin, or a guardrail."""
    transition = None if mode is state.mode else Transition(at_ns, state.mode, mode, reason)
    return ModeState(mode, 0, mode), transition


def transition_diff(transition: Transition, params: StrategyParams) -> dict[str, tuple[Any, Any]]:
    """What a change of mode changes: {dotted field: (before, after)}, for the symbol's own parameters."""
    return params_diff(mode_params(params, transition.before), mode_params(params, transition.after))


def _windows_needed(wanted: Mode, params: StrategyParams) -> int:
    hysteresis = params.hysteresis
    return hysteresis.min_active_windows if wanted is Mode.ACTIVE else hysteresis.min_quiet_windows


def _reason(wanted: Mode, schedule_active: bool, params: StrategyParams) -> Reason:
    """Going quiet is the schedule's doing only where the market has no say."""
    if wanted is Mode.ACTIVE:
        return Reason.SCHEDULE if schedule_active else Reason.MARKET
    return Reason.SCHEDULE if params.schedule.enabled and not params.market.enabled else Reason.MARKET
