"""How busy the market was: the inputs of the mode switch, per market window and arm.

A window is sampled into at most 64 bins. Rates and volume are winsorised over the bins, the spread is
their median: one block trade, or one busy second, is not activity.
"""

import math

import numpy as np

from engine.clock import NS_PER_S
from engine.strategy.kernels.arrays import Floats, Record, Records
from engine.strategy.kernels.compile import inlined, kernel
from engine.strategy.kernels.numerics import median
from engine.strategy.layout import ACTIVITY_BINS, BIN_NS

WINSOR_SHARE = 0.95
"""Bins above this quantile of their window (nearest rank) count as the quantile."""

TRADES_PER_MIN, QUOTES_PER_S, SPREAD_BPS, VOLATILITY_BPS, VOLUME_USD = range(5)


@kernel
def start_window(a: Record, at_ns: int, market_ns: int) -> None:
    """Begin a market window at a tick. It ends on a multiple of `market_ns`."""
    ticks_per_bin = -(-market_ns // (ACTIVITY_BINS * BIN_NS))
    a.start_ns = at_ns
    a.bin_ns = ticks_per_bin * BIN_NS
    a.bin = 0
    a.bin_end_ns = at_ns + a.bin_ns
    set_end(a, at_ns, market_ns)
    a.square_returns = 0.0
    a.return_count = 0
    for slot in range(ACTIVITY_BINS):
        a.trades[slot] = 0.0
        a.quotes[slot] = 0.0
        a.volume_usd[slot] = 0.0
        a.spread_bps[slot] = math.nan


@kernel
def set_end(a: Record, at_ns: int, market_ns: int) -> None:
    """Let the running window end on the next multiple of `market_ns`."""
    a.end_ns = (at_ns // market_ns + 1) * market_ns


@inlined
def on_tick(a: Record, m: Record, mid: float, spread_bps: float) -> None:
    """Add the tick that ends now: its events and a sample of the book. Returns are taken on whole seconds."""
    if m.now_ns > a.bin_end_ns and a.bin < ACTIVITY_BINS - 1:
        a.bin += 1
        a.bin_end_ns += a.bin_ns
    slot = a.bin
    a.trades[slot] += m.tick_trades
    a.quotes[slot] += m.tick_quotes
    a.volume_usd[slot] += m.tick_volume_usd
    if not m.has_quote:
        return
    a.spread_bps[slot] = spread_bps
    if m.now_ns % NS_PER_S == 0:
        if a.second_mid > 0.0:
            a.square_returns += math.log(mid / a.second_mid) ** 2
            a.return_count += 1
        a.second_mid = mid


@kernel
def close_window(market: Records, i: int, j: int, market_ns: int, summary: Floats) -> bool:
    """Close the market window of one arm that ends now, and start the next, `market_ns` long.

    Returns whether it was heard from its start; then `summary` holds five numbers, indices above.
    """
    m = market[i]
    a = m.arms[j].activity
    is_whole = m.now_ns - a.start_ns >= market_ns
    if is_whole:
        _summarise(a, m.now_ns, summary)
    start_window(a, m.now_ns, market_ns)
    return is_whole


@kernel
def _summarise(a: Record, end_ns: int, summary: Floats) -> None:
    """What the window looked like; NaN is not known."""
    minutes = (end_ns - a.start_ns) / (60.0 * NS_PER_S)
    summary[TRADES_PER_MIN] = winsorised_sum(a.trades[: a.bin + 1]) / minutes
    summary[QUOTES_PER_S] = winsorised_sum(a.quotes[: a.bin + 1]) / (minutes * 60.0)
    spreads = a.spread_bps[: a.bin + 1]
    summary[SPREAD_BPS] = median(spreads[~np.isnan(spreads)])
    summary[VOLATILITY_BPS] = per_minute_bps(a.square_returns, a.return_count)
    summary[VOLUME_USD] = winsorised_sum(a.volume_usd[: a.bin + 1]) / minutes


@kernel
def per_minute_bps(square_returns: float, seconds: int) -> float:
    """Realised volatility of one-second log returns, scaled to a minute, bps; NaN without returns."""
    return 1e4 * math.sqrt(square_returns / seconds * 60.0) if seconds else math.nan


@kernel
def winsorised_sum(values: Floats) -> float:
    """Sum with every value cut at the 95 % quantile (nearest rank)."""
    if len(values) == 0:
        return 0.0
    cap = _largest(values, len(values) - math.ceil(WINSOR_SHARE * len(values)))
    total = 0.0
    for value in values:
        total += min(value, cap)
    return total


@kernel
def _largest(values: Floats, rank: int) -> float:
    """The value that `rank` others are not smaller than: 0 is the largest."""
    top = np.full(rank + 1, -math.inf)
    for value in values:
        if value > top[rank]:
            place = rank
            while place > 0 and value > top[place - 1]:
                top[place] = top[place - 1]
                place -= 1
            top[place] = value
    return top[rank]
