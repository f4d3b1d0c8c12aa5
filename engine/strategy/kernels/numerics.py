"""Small formulas: order flow, running moments, z-scores, histogram bins."""

import math

import numpy as np

from engine.metrics import HIST_BINS, HIST_LOW, HIST_STEP, JOINT_BINS
from engine.strategy.kernels.arrays import Floats, Record
from engine.strategy.kernels.compile import inlined, kernel
from engine.strategy.layout import Z_EWMA, Z_RING, Z_ROLLING

MAD_TO_SD = 1.482602218505602
"""Standard deviation of a normal distribution over its median absolute deviation."""

CLIP = 3.0


@inlined
def order_flow(
    bid_px0: float, bid_qty0: float, ask_px0: float, ask_qty0: float,
    bid_px1: float, bid_qty1: float, ask_px1: float, ask_qty1: float,
) -> float:  # fmt: skip
    """Return e_n, the order flow of the change from quote 0 to quote 1, in base units.

    e_n = 1{P^b1 >= P^b0} q^b1 - 1{P^b1 <= P^b0} q^b0 - 1{P^a1 <= P^a0} q^a1 + 1{P^a1 >= P^a0} q^a0

    Cont, Kukanov and Stoikov, "The price impact of order book events",
    Journal of Financial Econometrics 12(1), 2014, equation (3).

    >>> order_flow(100.0, 5.0, 101.0, 7.0, 100.0, 8.0, 101.0, 7.0)
    3.0
    >>> order_flow(100.0, 5.0, 101.0, 7.0, 101.0, 2.0, 102.0, 4.0)
    9.0
    >>> order_flow(100.0, 5.0, 101.0, 7.0, 99.0, 9.0, 100.0, 6.0)
    -11.0
    """
    flow = 0.0
    if bid_px1 >= bid_px0:
        flow += bid_qty1
    if bid_px1 <= bid_px0:
        flow -= bid_qty0
    if ask_px1 <= ask_px0:
        flow -= ask_qty1
    if ask_px1 >= ask_px0:
        flow += ask_qty0
    return flow


@inlined
def update_moments(state: Record, x: float, alpha: float) -> None:
    """Exponentially weighted mean and variance; plain running moments until 1/n falls below alpha.

    Finch, "Incremental calculation of weighted mean and variance", 2009.
    """
    deviation = x - state.mean
    state.count += 1
    weight = alpha if alpha * state.count >= 1.0 else 1.0 / state.count
    state.mean += weight * deviation
    state.var = (1.0 - weight) * (state.var + weight * deviation * deviation)


@inlined
def next_z(state: Record, x: float, kind: int, alpha: float, window: int, floor: float, min_count: int) -> float:
    """Return the z of x against what came before it, NaN while that is too little; then remember x.

    The scale is never below `floor`. Decay and window are arguments of each update, and the ring holds
    the largest window, so a change of parameters rebuilds nothing.
    """
    moments = state.moments
    if moments.count < min_count:
        z = math.nan
    elif kind == Z_EWMA:
        z = _standardised(x, moments.mean, math.sqrt(moments.var), floor)
    else:
        z = _windowed_z(state, x, kind, window, floor)
    state.ring[moments.count % Z_RING] = x
    update_moments(moments, x, alpha)
    return z


@inlined
def _standardised(x: float, centre: float, scale: float, floor: float) -> float:
    scale = max(scale, floor)
    return (x - centre) / scale if scale > 0.0 else math.nan


@kernel
def _windowed_z(state: Record, x: float, kind: int, window: int, floor: float) -> float:
    """z against the last `window` values: by mean and standard deviation, or by median and MAD."""
    past = _past(state, window)
    if kind == Z_ROLLING:
        mean = past[0] + (past - past[0]).mean()  # of equal values exactly their value
        return _standardised(x, mean, math.sqrt(((past - mean) ** 2).sum() / (len(past) - 1.0)), floor)
    middle = median(past)
    return _standardised(x, middle, MAD_TO_SD * median(np.abs(past - middle)), floor)


@kernel
def median(values: Floats) -> float:
    """Middle value; the mean of both middle ones of an even number. NaN of none."""
    count = len(values)
    if count == 0:
        return math.nan
    ordered = np.sort(values)
    return 0.5 * (ordered[(count - 1) // 2] + ordered[count // 2])


@kernel
def _past(state: Record, window: int) -> Floats:
    """The last `window` values, in no particular order of time."""
    count = state.moments.count
    length = min(count, window)
    past = np.empty(length)
    for back in range(length):
        past[back] = state.ring[(count - 1 - back) % Z_RING]
    return past


@inlined
def signed_sqrt(x: float) -> float:
    """sgn(x) sqrt|x|: tames the heavy tails that depth gives to flow."""
    return math.copysign(math.sqrt(abs(x)), x)


@kernel
def clip(x: float) -> float:
    """Cut at plus and minus 3."""
    return min(CLIP, max(-CLIP, x))


@kernel
def hist_bin(z: float) -> int:
    """Index of the z histogram's bin; the first and the last are open."""
    if z < HIST_LOW:
        return 0
    return min(HIST_BINS - 1, int(min(z - HIST_LOW, 100.0) / HIST_STEP + 1e-9) + 1)


@kernel
def joint_bin(x: float) -> int:
    """Index on one axis of the joint histogram: edges from -2.5 to 2.5 in steps of 0.5, open outside."""
    return min(JOINT_BINS - 1, max(0, math.floor(2.0 * min(6.0, max(-6.0, x))) + JOINT_BINS // 2))


@kernel
def add_pair(sums: Record, x: float, y: float) -> None:
    """Add one point to the sums of a regression of y on x."""
    sums.n += 1
    sums.sx += x
    sums.sy += y
    sums.sxx += x * x
    sums.syy += y * y
    sums.sxy += x * y
