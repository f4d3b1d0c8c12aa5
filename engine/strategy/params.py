"""The parameters that are released, and their identity.

YAML is for people. What is deployed is the canonical JSON of one resolved
`StrategyParams`, addressed by its SHA-256; twelve hex digits of it are shown.
"""

import hashlib
import json
import re
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, ClassVar, Literal

import msgspec

from engine.errors import ConfigError
from engine.strategy.params_parts import (
    STRICT,
    CvdParams,
    CvdZParams,
    FusionParams,
    HysteresisParams,
    MarketParams,
    OfiParams,
    OfiZParams,
    PaperParams,
    PerformanceParams,
    RiskParams,
    ScheduleParams,
    parse_window,
    require,
)

__all__ = [
    "SECTIONS", "CvdParams", "CvdZParams", "FusionParams", "HysteresisParams", "MarketParams", "ModeParams",
    "OfiParams", "OfiZParams", "PaperParams", "PerformanceParams", "RiskParams", "ScheduleParams", "StrategyParams",
    "SymbolParams", "canonical_json", "digest", "fingerprint", "params_diff", "parse_params", "parse_window",
]  # fmt: skip

FINGERPRINT_DIGITS = 12

_NAME = re.compile(r"^[A-Z0-9_]{2,24}(?:\.[a-z][a-z0-9_]{1,23})?$")


@dataclass(frozen=True, slots=True)
class ModeParams:
    """Everything that differs between active and quiet."""

    ofi: OfiParams
    cvd: CvdParams
    risk: RiskParams
    performance: PerformanceParams
    __pydantic_config__: ClassVar = STRICT


@dataclass(frozen=True, slots=True)
class SymbolParams:
    """What one symbol may have for itself, resolved: everything but the switches of the whole service."""

    schedule: ScheduleParams
    market: MarketParams
    hysteresis: HysteresisParams
    active: ModeParams
    quiet: ModeParams
    fusion: FusionParams
    paper: PaperParams
    __pydantic_config__: ClassVar = STRICT


SECTIONS = tuple(field.name for field in fields(SymbolParams))
"""Names of what a symbol may override."""


@dataclass(frozen=True, slots=True)
class StrategyParams:
    """One configuration of the service, resolved.

    `mode` pins active or quiet; auto lets schedule and market decide, unless
    `dynamic_mode_enabled` is false, which holds quiet. With `dry_run` decisions are made and
    recorded, and the mode stays. Without `throttle_in_quiet` quiet's `coalesce_ms` is not used.
    `per_symbol` is by ticker or `TICKER.venue`: read it through `for_symbol`.
    """

    mode: Literal["auto", "active", "quiet"]
    dynamic_mode_enabled: bool
    dry_run: bool
    throttle_in_quiet: bool
    schedule: ScheduleParams
    market: MarketParams
    hysteresis: HysteresisParams
    active: ModeParams
    quiet: ModeParams
    fusion: FusionParams
    paper: PaperParams
    per_symbol: dict[str, SymbolParams]
    __pydantic_config__: ClassVar = STRICT

    def __post_init__(self) -> None:
        for name in self.per_symbol:
            require(_NAME.fullmatch(name) is not None, "per_symbol", "by ticker or TICKER.venue", repr(name))

    def for_symbol(self, symbol: str) -> "StrategyParams":
        """Return what holds for one symbol, without overrides: `TICKER.venue` goes before the ticker."""
        own = self.per_symbol.get(symbol if symbol in self.per_symbol else symbol.split(".")[0])
        if own is None:
            return replace(self, per_symbol={}) if self.per_symbol else self
        return replace(self, per_symbol={}, **{name: getattr(own, name) for name in SECTIONS})


def canonical_json(value: object) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN.

    Raises ValueError for NaN and infinities.
    """
    plain = msgspec.to_builtins(value) if is_dataclass(value) and not isinstance(value, type) else value
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


def needs_depth(params: StrategyParams) -> bool:
    """Whether a signal of these parameters, or of any symbol's own, is read from the book."""
    modes = [params.active, params.quiet]
    for own in params.per_symbol.values():
        modes += [own.active, own.quiet]
    return any(mode.ofi.form != "best" or mode.ofi.normalise for mode in modes)


def params_diff(old: object, new: object, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Return {dotted field: (old, new)} for every field that differs.

    `per_symbol.NAME.field` is there where a symbol changes otherwise than the rest does.
    """
    changes: dict[str, tuple[Any, Any]] = {}
    for field in fields(old):  # type: ignore[arg-type]
        before, after = getattr(old, field.name), getattr(new, field.name)
        if is_dataclass(before):
            changes |= params_diff(before, after, f"{prefix}{field.name}.")
        elif field.name != "per_symbol" and before != after:
            changes[prefix + field.name] = (before, after)
    if isinstance(old, StrategyParams) and isinstance(new, StrategyParams):
        changes |= _override_diff(old, new, changes)
    return changes


def _override_diff(
    old: StrategyParams, new: StrategyParams, general: dict[str, tuple[Any, Any]]
) -> dict[str, tuple[Any, Any]]:
    changes: dict[str, tuple[Any, Any]] = {}
    for name in sorted(old.per_symbol.keys() | new.per_symbol.keys()):
        own = params_diff(old.for_symbol(name), new.for_symbol(name))
        changes |= {f"per_symbol.{name}.{field}": pair for field, pair in own.items() if general.get(field) != pair}
    return changes
