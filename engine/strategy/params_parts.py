"""The parts of a configuration: signals, limits, triggers and costs, each with its invariants.

Invariants live here, so they also hold for parameters built in tests. An error says what must be
and what was.
"""

import re
from dataclasses import dataclass
from datetime import date, time
from typing import Any, ClassVar, Literal
from zoneinfo import ZoneInfo

from engine.clock import NS_PER_MS
from engine.strategy.layout import BIN_NS, LONGEST_READ_NS, MAX_LEVELS, MAX_ORDERS, Z_RING

STRICT: dict[str, Any] = {"extra": "forbid", "allow_inf_nan": False, "strict": True}

MIN_Z_WINDOW = 20
"""A scale from fewer values is noise."""

_HOURS = re.compile(r"^(?:[01]\d|2[0-3]):[0-5]\d-(?:[01]\d|2[0-3]):[0-5]\d$")
_BIN_MS = BIN_NS // NS_PER_MS
_LONGEST_READ_MS = LONGEST_READ_NS // NS_PER_MS
_DAY_MS = 86_400_000

ZKind = Literal["ewma", "rolling", "robust"]


def require(holds: bool, field: str, must: str, was: object) -> None:
    """Raise ValueError `field must be ..., was ...` unless it holds."""
    if not holds:
        raise ValueError(f"{field} must be {must}, was {was}")


def _require_at_most_a_day(field: str, value_ms: float, *, low: float) -> None:
    require(low <= value_ms <= _DAY_MS, field, f"in [{low}, {_DAY_MS}]", value_ms)


def _check_z(field: str, kind: ZKind, window: int, floor: float) -> None:
    require(MIN_Z_WINDOW <= window <= Z_RING, f"{field}.window", f"in [{MIN_Z_WINDOW}, {Z_RING}]", window)
    require(floor >= 0, f"{field}.floor", ">= 0", floor)
    # More than half of the values may be equal, and then their median deviation is 0.
    require(kind != "robust" or floor > 0, f"{field}.floor", "> 0 for a robust z", floor)


@dataclass(frozen=True, slots=True)
class OfiZParams:
    """What an order-flow value is compared with: an exponential mean and deviation of `half_life_s`,
    or mean and deviation (rolling), or median and 1.4826 MAD (robust) of the last `window` values.

    The deviation is never taken to be less than `floor`, in units of the transformed value.
    """

    kind: ZKind
    half_life_s: float
    window: int
    floor: float
    __pydantic_config__: ClassVar = STRICT

    def __post_init__(self) -> None:
        require(self.half_life_s > 0, "ofi.z.half_life_s", "> 0", self.half_life_s)
        _check_z("ofi.z", self.kind, self.window, self.floor)


@dataclass(frozen=True, slots=True)
class OfiParams:
    """Order-flow imbalance of one mode.

    A value is the flow of the last `window_ms`, taken every `bucket_ms` and
    `watermark_ms` after the bucket's end, so that late events are in it.
    After a mode switch or a gap no value is given for `freeze_ms`.

    `form` best reads the best level, multi all `depth_levels` levels, integrated their first principal
    component. With `normalise` flow is divided by the average depth.
    """

    bucket_ms: int
    window_ms: int
    watermark_ms: int
    freeze_ms: int
    depth_levels: int
    form: Literal["best", "multi", "integrated"]
    normalise: bool
    transform: Literal["none", "signed_sqrt"]
    z: OfiZParams
    __pydantic_config__: ClassVar = STRICT

    def __post_init__(self) -> None:
        for name in ("bucket_ms", "window_ms"):
            value = getattr(self, name)
            whole = value > 0 and value % _BIN_MS == 0
            require(whole, f"ofi.{name}", f"a positive multiple of {_BIN_MS}", value)
        require(self.watermark_ms >= 0, "ofi.watermark_ms", ">= 0", self.watermark_ms)
        _require_at_most_a_day("ofi.freeze_ms", self.freeze_ms, low=0)
        reach = self.window_ms + self.watermark_ms + self.bucket_ms
        require(reach < _LONGEST_READ_MS, "ofi.window_ms + watermark_ms + bucket_ms", f"< {_LONGEST_READ_MS}", reach)
        levels = self.depth_levels
        require(1 <= levels <= MAX_LEVELS, "ofi.depth_levels", f"in [1, {MAX_LEVELS}]", levels)


@dataclass(frozen=True, slots=True)
class CvdZParams:
    """What the mean of signed trade value is compared with: see `OfiZParams`. The exponential kind
    spans `cvd.window_ticks` trades; `floor` is in quote currency."""

    kind: ZKind
    window: int
    floor: float
    __pydantic_config__: ClassVar = STRICT

    def __post_init__(self) -> None:
        _check_z("cvd.z", self.kind, self.window, self.floor)


@dataclass(frozen=True, slots=True)
class CvdParams:
    """Cumulative volume delta of one mode.

    The signal is the exponential mean of signed trade value over `ema_span` trades,
    each trade cut at the mean plus `denoise_sigma` standard deviations of trade value;
    its z baseline spans `window_ticks` trades. The signed square root tames heavy tails.
    """

    window_ticks: int
    ema_span: int
    denoise_sigma: float
    transform: Literal["none", "signed_sqrt"]
    z: CvdZParams
    __pydantic_config__: ClassVar = STRICT

    def __post_init__(self) -> None:
        require(self.ema_span >= 1, "cvd.ema_span", ">= 1", self.ema_span)
        longer = self.window_ticks > self.ema_span
        require(longer, "cvd.window_ticks", "greater than ema_span", self.window_ticks)
        require(self.denoise_sigma > 0, "cvd.denoise_sigma", "> 0", self.denoise_sigma)


@dataclass(frozen=True, slots=True)
class RiskParams:
    """Paper-trading limits of one mode: position as a share of the allocation."""

    position_limit: float
    order_rate_limit_per_min: int
    __pydantic_config__: ClassVar = STRICT

    def __post_init__(self) -> None:
        require(0 < self.position_limit <= 1, "risk.position_limit", "in (0, 1]", self.position_limit)
        rate = self.order_rate_limit_per_min
        require(1 <= rate <= MAX_ORDERS, "risk.order_rate_limit_per_min", f"in [1, {MAX_ORDERS}]", rate)


@dataclass(frozen=True, slots=True)
class PerformanceParams:
    """How often the exported gauges of a symbol are refreshed, in market time, and for how long
    messages may be gathered before they are read: 0 reads each at once, at most one tick."""

    flush_metrics_interval_ms: int
    coalesce_ms: int
    __pydantic_config__: ClassVar = STRICT

    def __post_init__(self) -> None:
        _require_at_most_a_day("performance.flush_metrics_interval_ms", self.flush_metrics_interval_ms, low=1)
        inside = 0 <= self.coalesce_ms <= _BIN_MS
        require(inside, "performance.coalesce_ms", f"in [0, {_BIN_MS}]", self.coalesce_ms)


@dataclass(frozen=True, slots=True)
class FusionParams:
    """One signal from two z-scores: enter at |s| >= enter, leave at |s| < exit."""

    weight_ofi: float
    weight_cvd: float
    enter: float
    exit: float
    require_agreement: bool
    __pydantic_config__: ClassVar = STRICT

    def __post_init__(self) -> None:
        weights = (self.weight_ofi, self.weight_cvd)
        require(min(weights) >= 0 and sum(weights) > 0, "fusion weights", ">= 0, not both 0", weights)
        ordered = 0 <= self.exit < self.enter
        require(ordered, "fusion.exit", "in [0, enter)", self.exit)


def parse_window(text: str) -> tuple[time, time]:
    """Return start and end of `HH:MM-HH:MM`. Raises ValueError if it is not of that form,
    or if both are equal: list the hours that are meant."""
    if not _HOURS.match(text):
        raise ValueError(f"schedule.windows must be of the form HH:MM-HH:MM, was {text!r}")
    start, end = (time.fromisoformat(part) for part in text.split("-"))
    if start == end:
        raise ValueError(f"schedule.windows must not start where they end, was {text!r}")
    return start, end


@dataclass(frozen=True, slots=True)
class ScheduleParams:
    """Daily windows `HH:MM-HH:MM` in which the market is expected to be busy.

    A window whose end is not after its start crosses midnight and belongs to the day it starts on.
    `weekdays` are Monday 0 to Sunday 6; `holidays` are ISO dates. Both speak of the start day.
    """

    enabled: bool
    timezone: str
    windows: tuple[str, ...]
    weekdays: tuple[int, ...]
    holidays: tuple[str, ...]
    __pydantic_config__: ClassVar = STRICT

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"schedule.timezone must be a known time zone, was {self.timezone}") from error
        for text in self.windows:
            parse_window(text)
        for text in self.holidays:
            date.fromisoformat(text)
        in_week = all(0 <= day <= 6 for day in self.weekdays)
        require(in_week, "schedule.weekdays", "0 (Monday) to 6 (Sunday)", self.weekdays)


@dataclass(frozen=True, slots=True)
class MarketParams:
    """Activity thresholds, all of which must hold in the last `window_secs`."""

    enabled: bool
    window_secs: float
    min_trades_per_min: float
    min_quote_updates_per_sec: float
    max_spread_bps: float
    min_volatility_bps: float
    min_volume_usd: float
    __pydantic_config__: ClassVar = STRICT

    def __post_init__(self) -> None:
        ticks = self.window_secs * 1000 / _BIN_MS
        whole = 1 <= ticks <= _DAY_MS / _BIN_MS and abs(ticks - round(ticks)) < 1e-9
        must = f"a positive multiple of {_BIN_MS / 1000}, at most {_DAY_MS // 1000}"
        require(whole, "market.window_secs", must, self.window_secs)
        for name in ("min_trades_per_min", "min_quote_updates_per_sec", "min_volatility_bps", "min_volume_usd"):
            require(getattr(self, name) >= 0, f"market.{name}", ">= 0", getattr(self, name))
        require(self.max_spread_bps > 0, "market.max_spread_bps", "> 0", self.max_spread_bps)


@dataclass(frozen=True, slots=True)
class HysteresisParams:
    """How many market windows in a row must agree before the mode changes."""

    min_active_windows: int
    min_quiet_windows: int
    __pydantic_config__: ClassVar = STRICT

    def __post_init__(self) -> None:
        for name in ("min_active_windows", "min_quiet_windows"):
            require(getattr(self, name) >= 1, f"hysteresis.{name}", ">= 1", getattr(self, name))


@dataclass(frozen=True, slots=True)
class PaperParams:
    """Paper trading: fee per side in bps of traded value, delay from decision to fill, and the money
    of which `risk.position_limit` is a share."""

    fee_bps: float
    latency_ms: int
    allocation_usd: float
    __pydantic_config__: ClassVar = STRICT

    def __post_init__(self) -> None:
        require(self.fee_bps >= 0, "paper.fee_bps", ">= 0", self.fee_bps)
        _require_at_most_a_day("paper.latency_ms", self.latency_ms, low=0)
        require(self.allocation_usd > 0, "paper.allocation_usd", "> 0", self.allocation_usd)
