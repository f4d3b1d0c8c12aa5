"""Made-up events and parameter rows for tests of the kernels."""

from typing import Any

import numpy as np

from engine.clock import NS_PER_MS, NS_PER_S
from engine.strategy.layout import BIN_NS, CAPS, EVENT, GAP, PARAMS, QUOTE, ROWS, TRADE

T0 = 1_700_000_040 * NS_PER_S
"""On a whole minute."""

NO_CAPS = np.array([(1, 1e9, 1e12, 1000, 1e12)], CAPS)

QUIET_ROW: dict[str, Any] = {
    "pin": -1, "market_ns": NS_PER_S, "bucket_ns": 250 * NS_PER_MS, "window_ns": NS_PER_S,
    "watermark_ns": NS_PER_S, "freeze_ns": 100 * NS_PER_MS, "depth_levels": 5, "form": 0, "normalise": 0,
    "signed_sqrt": 1, "ofi_z": 0, "ofi_z_alpha": 0.02, "ofi_z_window": 60, "ofi_z_floor": 0.0, "ema_alpha": 0.05,
    "size_alpha": 0.01, "denoise_sigma": 2.0, "cvd_signed_sqrt": 1,
    "cvd_z": 0, "cvd_z_alpha": 0.01, "cvd_z_window": 80, "cvd_z_floor": 0.0,
    "position_limit": 0.2, "order_rate_limit": 60, "flush_ns": 15 * NS_PER_S, "coalesce_ns": 0, "weight_ofi": 0.6,
    "weight_cvd": 0.4, "enter": 0.8, "exit": 0.2, "require_agreement": 1, "fee_bps": 1.7, "latency_ns": 100 * NS_PER_MS,
    "allocation_usd": 100_000.0,
}  # fmt: skip
ACTIVE_ROW = QUIET_ROW | {
    "bucket_ns": 100 * NS_PER_MS,
    "watermark_ns": 300 * NS_PER_MS,
    "freeze_ns": 0,
    "position_limit": 1.0,
}


def param_rows(baseline: dict[str, Any] | None = None, canary: dict[str, Any] | None = None) -> Any:
    """One symbol's layout.ROWS: the baseline pinned quiet, the canary pinned active, with these changes."""
    rows = np.zeros((1, 2, 2), PARAMS)
    for j, (pin, changes) in enumerate(((0, baseline), (1, canary))):
        for mode, row in enumerate((QUIET_ROW, ACTIVE_ROW)):
            for name, value in (row | {"pin": pin} | (changes or {})).items():
                rows[0, j, mode][name] = value
    return rows


def as_rows(table: Any) -> Any:
    """(n, 2, 2) PARAMS as (n,) ROWS, which kernels take."""
    return table.reshape(len(table), 4).view(ROWS).reshape(len(table))


def random_events(seed: int, seconds: float, per_second: float = 60.0, *, messy: bool = True) -> Any:
    """Events of one symbol in arrival order, up to 110 ms late; messy ones are also crossed, doubled,
    missing, unsound, far off in time, or gaps."""
    rng = np.random.default_rng(seed)
    count = int(seconds * per_second)
    arrival = T0 + np.sort(rng.integers(1, int(seconds * NS_PER_S), count))
    late = rng.choice([0, 2, 20, 110], count, p=[0.9, 0.07, 0.02, 0.01]) * NS_PER_MS
    bid = 1000 + np.cumsum(rng.choice([-1, 0, 1], count, p=[0.04, 0.92, 0.04]))
    trade_id = 0
    rows = []
    for k in range(count):
        kind = TRADE if rng.random() < 0.33 else QUOTE
        bid_qty, ask_qty, qty = (rng.integers(1, 5000, 3) / 1000).tolist()
        trade_id += 1
        fault = rng.random() if messy else 1.0
        if fault < 0.004:
            rows.append((GAP, arrival[k], arrival[k], -1, 0.0, 0.0, 0.0, 0.0))
        ts = arrival[k] - late[k] + (-3 * 86_400 * NS_PER_S if 0.004 < fault < 0.006 else 0)
        if kind == TRADE:
            trade_id += 3 if 0.01 < fault < 0.015 else 0
            ident = trade_id - 1 if 0.02 < fault < 0.025 else trade_id
            price = float("nan") if 0.03 < fault < 0.035 else bid[k] / 10
            side = rng.choice([-1.0, 1.0]) if fault > 0.04 or fault < 0.036 else 0.0
            size, inferred = -qty if 0.05 < fault < 0.055 else qty, 0.0
            if 0.08 < fault < 0.14:
                side, inferred = 0.0, 1.0
                price = 0.5 * (bid[k] / 10 + (bid[k] + 1) / 10) if fault < 0.12 else price
            rows.append((TRADE, arrival[k], ts, ident, price, size, side, inferred))
        else:
            spread = -1 if 0.06 < fault < 0.08 else 1
            rows.append((QUOTE, arrival[k], ts, k, bid[k] / 10, bid_qty, (bid[k] + spread) / 10, ask_qty))
    return np.array(rows, EVENT)


def end_of(events: Any) -> int:
    """The tick that closes the last event."""
    return -(-int(events["arrival_ns"][-1]) // BIN_NS) * BIN_NS
