"""Plain Python twins of the small formulas, written from their definitions."""

import math
import statistics
from typing import Any

from engine.strategy.layout import Z_EWMA, Z_ROLLING

NAN = math.nan


def order_flow(old: tuple[float, ...], new: tuple[float, ...]) -> float:
    """e_n of Cont, Kukanov and Stoikov (2014), by side and by case, instead of by indicator."""
    (bid0, bid_qty0, ask0, ask_qty0), (bid1, bid_qty1, ask1, ask_qty1) = old, new
    bid = bid_qty1 if bid1 > bid0 else -bid_qty0 if bid1 < bid0 else bid_qty1 - bid_qty0
    ask = ask_qty0 if ask1 > ask0 else -ask_qty1 if ask1 < ask0 else ask_qty0 - ask_qty1
    return bid + ask


class Moments:
    """Exponential mean and variance, plain running moments at first."""

    def __init__(self) -> None:
        self.count, self.mean, self.var = 0, 0.0, 0.0

    def update(self, x: float, alpha: float) -> None:
        self.count += 1
        weight = alpha if alpha * self.count >= 1.0 else 1.0 / self.count
        deviation = x - self.mean
        self.mean += weight * deviation
        self.var = (1.0 - weight) * (self.var + weight * deviation * deviation)


class ZScore:
    """z against what came before; keeps every value."""

    def __init__(self, min_count: int) -> None:
        self.min_count = min_count
        self.moments = Moments()
        self.values: list[float] = []

    def next(self, x: float, kind: int, alpha: float, window: int, floor: float) -> float:
        z = NAN
        if len(self.values) >= self.min_count:
            centre, scale = self._compared_with(kind, window)
            scale = max(scale, floor)
            z = (x - centre) / scale if scale > 0.0 else NAN
        self.values.append(x)
        self.moments.update(x, alpha)
        return z

    def _compared_with(self, kind: int, window: int) -> tuple[float, float]:
        past = self.values[-window:]
        if kind == Z_EWMA:
            return self.moments.mean, math.sqrt(self.moments.var)
        if kind == Z_ROLLING:
            return statistics.fmean(past), statistics.stdev(past)
        middle = statistics.median(past)
        return middle, 1.482602218505602 * statistics.median([abs(x - middle) for x in past])


def signed_sqrt(x: float) -> float:
    return math.copysign(math.sqrt(abs(x)), x)


def clip(x: float) -> float:
    return min(3.0, max(-3.0, x))


def hist_bin(z: float) -> int:
    """100 bins of 0.1 from -5 to 5, and one on each side."""
    if z < -5.0:
        return 0
    if z >= 5.0 - 1e-10:
        return 101
    return int((z + 5.0) / 0.1 + 1e-9) + 1


def joint_bin(x: float) -> int:
    """12 bins: edges -2.5, -2.0 ... 2.5."""
    edges = [-2.5 + 0.5 * k for k in range(11)]
    return sum(x >= edge for edge in edges)


def winsorised_sum(values: list[float]) -> float:
    ordered = sorted(values)
    cap = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return sum(min(value, cap) for value in values)


def add_pair(sums: dict[str, Any], x: float, y: float) -> None:
    for name, amount in (("n", 1), ("sx", x), ("sy", y), ("sxx", x * x), ("syy", y * y), ("sxy", x * y)):
        sums[name] += amount
