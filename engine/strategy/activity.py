"""How busy the market was: the inputs of the mode switch, per market window."""

import math
from statistics import median

from engine.clock import NS_PER_S
from engine.strategy.mode import Activity

WINSOR_SHARE = 0.95
"""Trade values above this quantile of their window count as the quantile: one block trade is not activity."""


class ActivityWindow:
    """Collects one market window at a time."""

    __slots__ = ("_last_second_mid", "_notionals", "_quote_count", "_spreads_bps", "_squared_returns", "_start_ns")

    def __init__(self) -> None:
        self._start_ns: int | None = None
        self._last_second_mid: float | None = None
        self._clear()

    def _clear(self) -> None:
        self._notionals: list[float] = []
        self._spreads_bps: list[float] = []
        self._squared_returns: list[float] = []
        self._quote_count = 0

    def on_trade(self, notional: float) -> None:
        self._notionals.append(notional)

    def on_quotes(self, count: int) -> None:
        self._quote_count += count

    def on_tick(self, at_ns: int, mid: float | None, spread_bps: float | None) -> None:
        """Sample the book once per tick; returns are taken on whole seconds."""
        if self._start_ns is None:
            self._start_ns = at_ns
        if mid is None or spread_bps is None:
            return
        self._spreads_bps.append(spread_bps)
        if at_ns % NS_PER_S == 0:
            if self._last_second_mid is not None:
                self._squared_returns.append(math.log(mid / self._last_second_mid) ** 2)
            self._last_second_mid = mid

    def close(self, at_ns: int, window_secs: float) -> Activity | None:
        """Return the window that ends here, None before the first whole one, and start the next."""
        whole = self._start_ns is not None and at_ns - self._start_ns >= 0.99 * window_secs * NS_PER_S
        activity = self._summary(window_secs) if whole else None
        self._clear()
        self._start_ns = at_ns
        return activity

    def _summary(self, window_secs: float) -> Activity:
        minutes = window_secs / 60
        seconds = len(self._squared_returns)
        per_minute = math.sqrt(sum(self._squared_returns) / seconds * 60) if seconds else None
        return Activity(
            trades_per_min=len(self._notionals) / minutes,
            quote_updates_per_sec=self._quote_count / window_secs,
            spread_bps=median(self._spreads_bps) if self._spreads_bps else None,
            volatility_bps=per_minute * 1e4 if per_minute is not None else None,
            volume_usd=winsorised_sum(self._notionals) / minutes,
        )


def winsorised_sum(values: list[float]) -> float:
    """Sum with every value cut at the 95 % quantile (nearest rank).

    >>> winsorised_sum([1.0] * 39 + [1000.0])
    40.0
    """
    if not values:
        return 0.0
    ordered = sorted(values)
    cap = ordered[math.ceil(WINSOR_SHARE * len(ordered)) - 1]
    return math.fsum(min(value, cap) for value in values)
