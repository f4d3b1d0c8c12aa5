"""What the simulated market is made of, and where each number comes from.

- Measured on set A (2024-08-08 23:54 to 2024-08-09 00:00 UTC, Binance USD-M, 343 s): price
  and grid, the three rates, the quantiles, `two_step_share`. Trimmed: above the 95 % quantile
  BTCUSDT's steps (A: 139, 568, 671) and above 99 % its depth (A: 130, 473), since a few
  quotes of one episode would otherwise rule every run.
- Fitted, so that the statistics of `benchmarks/market_calibration.py` land near set A:
  variances, memories, shares, loadings, delays and `step_scale`.
  The predictive power of fresh flow was set near Binance spot in set A, above USD-M there,
  so that five minutes can tell a fresh signal from a stale one: never take it for a market's.
- Assumed: the shape of the day, since set A is minutes long, and the smaller tickers,
  which are ETHUSDT times the factors stated in `SCALED`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PROBABILITIES = (0.0005, 0.05, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99, 0.999, 0.9999)
"""Where quantiles are stored; the first and last stand for minimum and maximum."""

SCORES = tuple(NormalDist().inv_cdf(probability) for probability in PROBABILITIES)

DAY_SHAPE = (
    1.00, 1.00, 0.90, 0.70, 0.50, 0.40, 0.40, 0.50, 0.70, 0.80, 0.80, 0.90,
    1.10, 1.50, 2.00, 2.00, 1.80, 1.50, 1.20, 1.00, 0.90, 0.80, 0.90, 1.00,
)  # fmt: skip
"""Factor on all rates at each full hour in UTC, linear in between; 1 at midnight, where set A lies.

An assumption, not a measurement: busiest when New York opens, quietest in the early European morning.
Volatility follows its square root, because price steps arrive in proportion.
"""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A positive distribution by its values at `PROBABILITIES`, log-linear in the normal score between them."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        rising = list(self.values) == sorted(self.values) and self.values[0] > 0.0
        if len(self.values) != len(PROBABILITIES) or not rising:
            raise ValueError(f"quantiles must be {len(PROBABILITIES)} rising positive values, were {self.values}")

    def of(self, scores: Floats) -> Floats:
        """Return the values at standard normal scores, same shape; clamped at both ends."""
        return np.asarray(np.exp(np.interp(scores, SCORES, np.log(self.values))), np.float64)

    def scaled(self, factor: float) -> "Quantiles":
        return Quantiles(tuple(value * factor for value in self.values))


@dataclass(frozen=True, slots=True)
class Calibration:
    """One simulated instrument. Rates hold at factor 1 of the day's shape."""

    price: float
    """Price at the start, quote currency."""
    ticks_per_unit: int
    """Price steps per unit of quote currency: the inverse of the tick size, so that prices are exact decimals."""
    lots_per_unit: int
    """Smallest quantities per unit of base currency."""
    orders_per_s: float
    """Aggressive orders; each makes one or more fills at one instant."""
    quotes_per_s: float
    """Changes of the best quote, price steps included."""
    steps_per_s: float
    """Moves of the price, counting a move of both sides once."""
    fills: Quantiles
    """Fills of one order."""
    trade_qty: Quantiles
    """Size of one fill, base units."""
    depth_qty: Quantiles
    """Quantity at a best quote, base units."""
    step_ticks: Quantiles
    """Size of a price step, ticks."""
    step_scale: float
    """Factor on price steps, so that the mid moves as much in 1 s as in set A."""
    two_step_share: float
    """Share of price steps in which the near side follows later, which widens the spread meanwhile."""
    follow_delay_s: float
    """Mean delay until the near side follows."""
    burst_var: tuple[float, float]
    """Variance of the log rate of orders: fast and slow part."""
    burst_tau_s: tuple[float, float]
    """Memory of the two parts."""
    quote_burst_share: float
    """How much of an order burst, in logs, the quotes share."""
    echo_share: float
    """Share of the changes of quantity that answer an order; the others come on their own."""
    echo_delay_s: float
    """Mean delay of such an answer."""
    flow_tau_s: tuple[float, float]
    """Memory of the parts of the latent order flow: sweeps and waves."""
    flow_share: tuple[float, float]
    """Shares of the parts in the variance of the latent flow; they sum to 1."""
    sign_loading: float
    """Latent flow, in sd, added to the unit noise that decides the side of an order."""
    order_lag_s: float
    """How much later orders follow the latent flow than quotes do, a multiple of 50 ms: what a fresh signal can use."""
    step_loading: float
    """The same for the direction of price steps that no order made."""
    order_step_share: float
    """Share of price steps made by an order, in its direction."""
    fills_on_step: float
    """How much likelier an order with many fills moves the price: loading of the log odds on its normal score."""
    step_on_fills: float
    """Correlation of the normal scores of an order's fills and of its price step."""
    depth_loading: float
    """Loading of a queue's normal score on the latent flow: bids lengthen, offers shorten under buying."""
    depth_memory: float
    """Share of a queue's remaining variance that moves slowly; the rest is drawn anew at each price."""
    depth_tau_s: float
    """Memory of the slow part of a queue."""
    young_gap: float
    """How much shorter, in normal scores, a queue is at a price it has just improved to."""
    young_s: float
    """Time in which that gap shrinks by e."""
    young_mean: float
    """Mean share of the gap over all quotes, taken off so that the quantiles of depth hold."""

    @property
    def own_steps_per_s(self) -> float:
        """Price steps that no order made."""
        return self.steps_per_s * (1.0 - self.order_step_share)

    @property
    def resizes_per_s(self) -> float:
        """Quotes that are neither an order's mark, nor a step, nor the follower of a step."""
        follows_per_s = self.steps_per_s * self.two_step_share
        return self.quotes_per_s - self.orders_per_s - self.own_steps_per_s - follows_per_s


BTCUSDT = Calibration(
    price=61_800.0,
    ticks_per_unit=10,
    lots_per_unit=1000,
    orders_per_s=15.65,
    quotes_per_s=192.5,
    steps_per_s=3.49,
    fills=Quantiles((1.0, 1.0, 1.0, 1.0, 2.0, 7.0, 12.0, 45.0, 315.0, 348.0)),
    trade_qty=Quantiles((0.001, 0.002, 0.003, 0.016, 0.081, 0.265, 0.486, 1.146, 5.90, 46.0)),
    depth_qty=Quantiles((0.001, 0.014, 0.695, 2.68, 4.96, 8.47, 11.2, 23.5, 40.0, 60.0)),
    step_ticks=Quantiles((1.0, 1.0, 3.0, 8.0, 17.0, 36.0, 60.0, 110.0, 150.0, 200.0)),
    step_scale=1.35,
    two_step_share=0.48,
    follow_delay_s=0.005,
    burst_var=(1.1, 0.7),
    burst_tau_s=(0.12, 0.8),
    quote_burst_share=0.25,
    echo_share=0.6,
    echo_delay_s=0.02,
    flow_tau_s=(0.1, 0.7),
    flow_share=(0.1, 0.9),
    sign_loading=1.2,
    order_lag_s=0.55,
    step_loading=4.0,
    order_step_share=0.55,
    fills_on_step=1.0,
    step_on_fills=0.9,
    depth_loading=0.6,
    depth_memory=0.8,
    depth_tau_s=0.5,
    young_gap=0.8,
    young_s=0.15,
    young_mean=0.35,
)

ETHUSDT = replace(
    BTCUSDT,
    price=2_680.0,
    ticks_per_unit=100,
    orders_per_s=10.21,
    quotes_per_s=157.2,
    steps_per_s=4.17,
    fills=Quantiles((1.0, 1.0, 1.0, 1.0, 4.0, 8.0, 13.0, 35.0, 130.0, 228.0)),
    trade_qty=Quantiles((0.001, 0.008, 0.012, 0.071, 0.478, 1.60, 3.06, 8.46, 19.9, 265.0)),
    depth_qty=Quantiles((0.001, 0.044, 3.40, 13.3, 26.1, 41.5, 52.7, 77.6, 107.0, 300.0)),
    step_ticks=Quantiles((1.0, 1.0, 2.0, 4.0, 8.0, 14.0, 21.0, 48.0, 90.0, 141.0)),
    step_scale=1.25,
    two_step_share=0.39,
    burst_var=(1.0, 0.35),
)


@dataclass(frozen=True, slots=True)
class Scale:
    """A smaller ticker as ETHUSDT times factors. Price and grid are those of mid-2024; the factors are assumed."""

    price: float
    ticks_per_unit: int
    lots_per_unit: int
    rate_factor: float
    """On all rates."""
    value_factor: float
    """On sizes and depths in quote currency."""
    step_factor: float
    """On price steps as a share of price."""


SCALED: Mapping[str, Scale] = MappingProxyType(
    {
        "SOLUSDT": Scale(150.0, 1000, 1, rate_factor=0.8, value_factor=0.5, step_factor=1.3),
        "BNBUSDT": Scale(510.0, 100, 100, rate_factor=0.3, value_factor=0.3, step_factor=1.2),
        "XRPUSDT": Scale(0.61, 10_000, 10, rate_factor=0.4, value_factor=0.3, step_factor=1.4),
        "DOGEUSDT": Scale(0.103, 100_000, 1, rate_factor=0.4, value_factor=0.3, step_factor=1.5),
    }
)


def _scaled(scale: Scale) -> Calibration:
    base = ETHUSDT
    qty = scale.value_factor * base.price / scale.price
    ticks = scale.step_factor * (scale.price * scale.ticks_per_unit) / (base.price * base.ticks_per_unit)
    return replace(
        base,
        price=scale.price,
        ticks_per_unit=scale.ticks_per_unit,
        lots_per_unit=scale.lots_per_unit,
        orders_per_s=base.orders_per_s * scale.rate_factor,
        quotes_per_s=base.quotes_per_s * scale.rate_factor,
        steps_per_s=base.steps_per_s * scale.rate_factor,
        trade_qty=base.trade_qty.scaled(qty),
        depth_qty=base.depth_qty.scaled(qty),
        step_ticks=base.step_ticks.scaled(ticks),
    )


CALIBRATIONS: Mapping[str, Calibration] = MappingProxyType(
    {"BTCUSDT": BTCUSDT, "ETHUSDT": ETHUSDT} | {ticker: _scaled(scale) for ticker, scale in SCALED.items()}
)
"""All known tickers."""
