"""The parameters that are released, and their identity.

YAML is for people. What is deployed is the canonical JSON of one resolved
`StrategyParams`, addressed by its SHA-256; twelve hex digits of it are shown.
Invariants live here, so they also hold for parameters built in tests.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields, is_dataclass
from datetime import date, time
from typing import Any, ClassVar, Literal
from zoneinfo import ZoneInfo

import msgspec

from engine.errors import ConfigError
from engine.strategy.ofi import BIN_NS, RING_BINS

FINGERPRINT_DIGITS = 12

_HOURS = re.compile(r"^(?:[01]\d|2[0-3]):[0-5]\d-(?:[01]\d|2[0-3]):[0-5]\d$")

_STRICT: dict[str, Any] = {"extra": "forbid", "allow_inf_nan": False, "strict": True}

_BIN_MS = BIN_NS // 1_000_000
_RING_MS = RING_BINS * _BIN_MS


def _require(holds: bool, field: str, must: str, was: object) -> None:
    if not holds:
        raise ValueError(f"{field} must be {must}, was {was}")


@dataclass(frozen=True, slots=True)
class OfiParams:
    """Order-flow imbalance of one mode.

    A value is the flow of the last `window_ms`, taken every `bucket_ms` and
    `watermark_ms` after the bucket's end, so that late events are in it.
    After a mode switch or a gap no value is given for `freeze_ms`.
    """

    bucket_ms: int
    window_ms: int
    watermark_ms: int
    freeze_ms: int
    z_half_life_s: float
    __pydantic_config__: ClassVar = _STRICT

    def __post_init__(self) -> None:
        for name in ("bucket_ms", "window_ms"):
            value = getattr(self, name)
            whole = value > 0 and value % _BIN_MS == 0
            _require(whole, f"ofi.{name}", f"a positive multiple of {_BIN_MS}", value)
        _require(self.watermark_ms >= 0, "ofi.watermark_ms", ">= 0", self.watermark_ms)
        _require(self.freeze_ms >= 0, "ofi.freeze_ms", ">= 0", self.freeze_ms)
        reach = self.window_ms + self.watermark_ms + self.bucket_ms
        _require(reach < _RING_MS, "ofi.window_ms + watermark_ms", f"< {_RING_MS}", reach)
        _require(self.z_half_life_s > 0, "ofi.z_half_life_s", "> 0", self.z_half_life_s)


@dataclass(frozen=True, slots=True)
class CvdParams:
    """Cumulative volume delta of one mode.

    The signal is the exponential mean of signed trade value over `ema_span` trades,
    each trade cut at the mean plus `denoise_sigma` standard deviations of trade value;
    its z baseline spans `window_ticks` trades.
    """

    window_ticks: int
    ema_span: int
    denoise_sigma: float
    __pydantic_config__: ClassVar = _STRICT

    def __post_init__(self) -> None:
        _require(self.ema_span >= 1, "cvd.ema_span", ">= 1", self.ema_span)
        longer = self.window_ticks > self.ema_span
        _require(longer, "cvd.window_ticks", "greater than ema_span", self.window_ticks)
        _require(self.denoise_sigma > 0, "cvd.denoise_sigma", "> 0", self.denoise_sigma)


@dataclass(frozen=True, slots=True)
class RiskParams:
    """Paper-trading limits of one mode: position as a share of the allocation."""

    position_limit: float
    order_rate_limit_per_min: int
    __pydantic_config__: ClassVar = _STRICT

    def __post_init__(self) -> None:
        _require(0 < self.position_limit <= 1, "risk.position_limit", "in (0, 1]", self.position_limit)
        rate = self.order_rate_limit_per_min
        _require(rate >= 1, "risk.order_rate_limit_per_min", ">= 1", rate)


@dataclass(frozen=True, slots=True)
class PerformanceParams:
    """How often the exported gauges of a symbol are refreshed, in market time."""

    flush_metrics_interval_ms: int
    __pydantic_config__: ClassVar = _STRICT

    def __post_init__(self) -> None:
        value = self.flush_metrics_interval_ms
        _require(value > 0, "performance.flush_metrics_interval_ms", "> 0", value)


@dataclass(frozen=True, slots=True)
class ModeParams:
    """Everything that differs between active and quiet."""

    ofi: OfiParams
    cvd: CvdParams
    risk: RiskParams
    performance: PerformanceParams
    __pydantic_config__: ClassVar = _STRICT


@dataclass(frozen=True, slots=True)
class FusionParams:
    """One signal from two z-scores: enter at |s| >= enter, leave at |s| < exit."""

    weight_ofi: float
    weight_cvd: float
    enter: float
    exit: float
    require_agreement: bool
    __pydantic_config__: ClassVar = _STRICT

    def __post_init__(self) -> None:
        weights = (self.weight_ofi, self.weight_cvd)
        _require(min(weights) >= 0 and sum(weights) > 0, "fusion weights", ">= 0, not both 0", weights)
        ordered = 0 <= self.exit < self.enter
        _require(ordered, "fusion.exit", "in [0, enter)", self.exit)


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
    __pydantic_config__: ClassVar = _STRICT

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
        _require(in_week, "schedule.weekdays", "0 (Monday) to 6 (Sunday)", self.weekdays)


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
    __pydantic_config__: ClassVar = _STRICT

    def __post_init__(self) -> None:
        ticks = self.window_secs * 1000 / _BIN_MS
        whole = ticks >= 1 and abs(ticks - round(ticks)) < 1e-9
        _require(whole, "market.window_secs", f"a positive multiple of {_BIN_MS / 1000}", self.window_secs)
        for name in ("min_trades_per_min", "min_quote_updates_per_sec", "min_volatility_bps", "min_volume_usd"):
            _require(getattr(self, name) >= 0, f"market.{name}", ">= 0", getattr(self, name))
        _require(self.max_spread_bps > 0, "market.max_spread_bps", "> 0", self.max_spread_bps)


@dataclass(frozen=True, slots=True)
class HysteresisParams:
    """How many market windows in a row must agree before the mode changes."""

    min_active_windows: int
    min_quiet_windows: int
    __pydantic_config__: ClassVar = _STRICT

    def __post_init__(self) -> None:
        for name in ("min_active_windows", "min_quiet_windows"):
            _require(getattr(self, name) >= 1, f"hysteresis.{name}", ">= 1", getattr(self, name))


@dataclass(frozen=True, slots=True)
class PaperParams:
    """Paper-trading costs: fee per side in bps of traded value, delay from decision to fill."""

    fee_bps: float
    latency_ms: int
    __pydantic_config__: ClassVar = _STRICT

    def __post_init__(self) -> None:
        _require(self.fee_bps >= 0, "paper.fee_bps", ">= 0", self.fee_bps)
        _require(self.latency_ms >= 0, "paper.latency_ms", ">= 0", self.latency_ms)


@dataclass(frozen=True, slots=True)
class StrategyParams:
    """One configuration of the service, resolved.

    `mode` pins active or quiet; auto lets schedule and market decide, unless
    `dynamic_mode_enabled` is false, which holds quiet.
    """

    mode: Literal["auto", "active", "quiet"]
    dynamic_mode_enabled: bool
    schedule: ScheduleParams
    market: MarketParams
    hysteresis: HysteresisParams
    active: ModeParams
    quiet: ModeParams
    fusion: FusionParams
    paper: PaperParams
    __pydantic_config__: ClassVar = _STRICT


def canonical_json(value: object) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN.

    Raises ValueError for NaN and infinities.
    """
    plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def digest(text: str) -> str:
    """SHA-256 of a text, 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint(params: StrategyParams) -> str:
    """Return the first 12 hex digits of the digest of the canonical JSON."""
    return digest(canonical_json(params))[:FINGERPRINT_DIGITS]


def parse_params(text: str, expected_fingerprint: str) -> StrategyParams:
    """Read canonical JSON back, and prove that it is what was approved.

    Raises ConfigError if a field is wrong or the fingerprint of what was read differs.
    """
    try:
        params = msgspec.json.decode(text.encode(), type=StrategyParams, strict=True)
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigError(f"parameters {expected_fingerprint}: {error}") from error
    found = digest(text)[:FINGERPRINT_DIGITS]
    if found != expected_fingerprint:
        raise ConfigError(f"parameters say they are {expected_fingerprint} but are {found}: refused")
    if canonical_json(params) != text:
        raise ConfigError(f"parameters {expected_fingerprint} hold a field that is not known here: refused")
    return params


def params_diff(old: object, new: object, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Return {dotted field: (old, new)} for every field that differs."""
    changes: dict[str, tuple[Any, Any]] = {}
    for field in fields(old):  # type: ignore[arg-type]
        before, after = getattr(old, field.name), getattr(new, field.name)
        if is_dataclass(before):
            changes |= params_diff(before, after, f"{prefix}{field.name}.")
        elif before != after:
            changes[prefix + field.name] = (before, after)
    return changes
