"""What tests build on: parameters, measurements and events with everything ordinary but what the test is about."""

from dataclasses import asdict
from typing import Any

import msgspec

from engine.strategy.caps import Caps, OrderCaps, PositionCaps
from engine.strategy.params import StrategyParams
from engine.strategy.records import Measurement

MS = 1_000_000
S = 1_000_000_000
T0 = 1_735_689_600 * S
"""2025-01-01T00:00:00Z, a Wednesday: on the edge of every tick, window and minute."""

MEASUREMENT = Measurement(window_s=1, grid_ms=50, horizons_ms=(250, 500))

WIDE_CAPS = Caps(("*",), OrderCaps(1e9, 1000, 10_000.0), PositionCaps(1e9), ("*",))
"""Caps that nothing in a test reaches unless it means to."""

_MODE = {
    "ofi": {
        "bucket_ms": 100,
        "window_ms": 500,
        "watermark_ms": 100,
        "freeze_ms": 0,
        "depth_levels": 10,
        "form": "best",
        "normalise": False,
        "transform": "signed_sqrt",
        "z": {"kind": "ewma", "half_life_s": 5.0, "window": 300, "floor": 0.0},
    },
    "cvd": {
        "window_ticks": 200,
        "ema_span": 10,
        "denoise_sigma": 3.0,
        "transform": "signed_sqrt",
        "z": {"kind": "ewma", "window": 300, "floor": 0.0},
    },
    "risk": {"position_limit": 0.5, "order_rate_limit_per_min": 60},
    "performance": {"flush_metrics_interval_ms": 1000, "coalesce_ms": 0},
}
_PARAMS: dict[str, Any] = {
    "mode": "auto",
    "dynamic_mode_enabled": True,
    "dry_run": False,
    "throttle_in_quiet": False,
    "schedule": {
        "enabled": False,
        "timezone": "UTC",
        "windows": ["09:00-12:00"],
        "weekdays": [0, 1, 2, 3, 4, 5, 6],
        "holidays": [],
    },
    "market": {
        "enabled": True,
        "window_secs": 1.0,
        "min_trades_per_min": 100.0,
        "min_quote_updates_per_sec": 10.0,
        "max_spread_bps": 5.0,
        "min_volatility_bps": 1.0,
        "min_volume_usd": 1000.0,
    },
    "hysteresis": {"min_active_windows": 3, "min_quiet_windows": 2},
    "active": _MODE,
    "quiet": _MODE,
    "fusion": {"weight_ofi": 0.6, "weight_cvd": 0.4, "enter": 1.0, "exit": 0.2, "require_agreement": False},
    "paper": {"fee_bps": 1.7, "latency_ms": 100, "allocation_usd": 100_000.0},
    "per_symbol": {},
}


def params_with(changes: dict[str, Any] | None = None) -> StrategyParams:
    """Return ordinary parameters but for the dotted fields given.

    Raises msgspec.ValidationError as the service would.
    """
    plain = msgspec.json.decode(msgspec.json.encode(_PARAMS))
    for dotted, value in (changes or {}).items():
        *parents, leaf = dotted.split(".")
        node = plain
        for parent in parents:
            node = node[parent]
        node[leaf] = value
    return msgspec.convert(plain, StrategyParams)


def plain_of(params: StrategyParams) -> dict[str, Any]:
    """The parameters as nested mappings."""
    return asdict(params)
