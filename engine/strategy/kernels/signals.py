"""The two signals of one arm, their fusion, and what is published.

Quotes, trades and books are shared between the arms; what differs is when a value is taken, how it
is smoothed and what it is compared with.
"""

import math

import numpy as np

from engine.clock import NS_PER_S
from engine.strategy.kernels.arrays import Floats, Record
from engine.strategy.kernels.compile import inlined, kernel
from engine.strategy.kernels.flow import flow_between, level_flow_between, lots_at, mean_depth, mid_at
from engine.strategy.kernels.numerics import add_pair, next_z, signed_sqrt, update_moments
from engine.strategy.layout import FORM_BEST, FORM_INTEGRATED, MAX_LEVELS, SIGNAL_RING

MIN_OFI_BUCKETS = 20
MIN_CVD_TRADES = 50

STALE_NS = 60 * NS_PER_S
"""Without quotes for longer there is no OFI, without depth no book."""

NO_TRADE_NS = 600 * NS_PER_S
"""Without trades for longer there is no CVD: small coins trade seldom."""


@inlined
def on_trade(arm: Record, p: Record, value: float, aggressor: float) -> None:
    """Add one trade to the flow of trades: `value` in quote currency, `aggressor` +1 or -1.

    The signal is the exponential mean of signed trade value, each trade cut at the mean plus
    `denoise_sigma` standard deviations of trade value.
    """
    kept = value
    excess = value - arm.size.mean
    is_large = excess > 0.0 and excess * excess > p.denoise_sigma * p.denoise_sigma * arm.size.var
    if is_large and arm.size.count >= MIN_CVD_TRADES:
        kept = arm.size.mean + p.denoise_sigma * math.sqrt(arm.size.var)
    update_moments(arm.size, value, p.size_alpha)
    arm.cvd_ema += p.ema_alpha * (kept * aggressor - arm.cvd_ema)
    x = signed_sqrt(arm.cvd_ema) if p.cvd_signed_sqrt else arm.cvd_ema
    arm.cvd_z = next_z(arm.cvd, x, p.cvd_z, p.cvd_z_alpha, p.cvd_z_window, p.cvd_z_floor, MIN_CVD_TRADES)


@inlined
def is_silent(m: Record, last_ns: int, patience_ns: int) -> bool:
    """Whether nothing came for so long that silence cannot be taken for calm."""
    return m.now_ns - last_ns > patience_ns


@kernel
def settle_on_grid(arm: Record, p: Record, at_ns: int, is_switch: bool) -> None:
    """Read the same flow on the grid of other parameters from here on; after a switch, freeze for `freeze_ns`."""
    if arm.next_bucket_ns > 0 and arm.bucket_ns != p.bucket_ns:
        arm.next_bucket_ns = -(-arm.next_bucket_ns // p.bucket_ns) * p.bucket_ns
    arm.bucket_ns = p.bucket_ns
    if is_switch and p.freeze_ns > 0:
        arm.frozen_until_ns = at_ns + p.freeze_ns
        arm.ofi_z = math.nan


@kernel
def take_buckets(m: Record, arm: Record, p: Record, clock_ns: int, flows: Floats) -> None:
    """Take every value whose watermark has passed."""
    if arm.next_bucket_ns == 0:
        arm.bucket_ns = p.bucket_ns
        arm.next_bucket_ns = (clock_ns // p.bucket_ns + 1) * p.bucket_ns + p.window_ns // p.bucket_ns * p.bucket_ns
    while arm.next_bucket_ns <= clock_ns - p.watermark_ns:
        end_ns = arm.next_bucket_ns
        _take_bucket(m, arm, p, end_ns, clock_ns, flows)
        arm.next_bucket_ns = end_ns + p.bucket_ns
        m.taken_ns = max(m.taken_ns, end_ns)


@kernel
def _take_bucket(m: Record, arm: Record, p: Record, end_ns: int, clock_ns: int, flows: Floats) -> None:
    start_ns = end_ns - p.window_ns
    value = order_flow_signal(m, arm, p, start_ns, end_ns, flows)
    arm.ofi_value = value
    if math.isnan(value) or start_ns < m.gap_until_ns or m.has_quote == 0 or is_silent(m, m.last_quote_ns, STALE_NS):
        arm.ofi_z = math.nan  # what was not heard whole is compared with nothing, and nothing with it
    else:
        x = signed_sqrt(value) if p.signed_sqrt else value
        z = next_z(arm.ofi, x, p.ofi_z, p.ofi_z_alpha, p.ofi_z_window, p.ofi_z_floor, MIN_OFI_BUCKETS)
        arm.ofi_z = z if clock_ns >= arm.frozen_until_ns else math.nan
        if end_ns % p.window_ns == 0:
            _compare_with_return(m, arm, value, start_ns, end_ns)
    arm.strength = fuse(arm.ofi_z, arm.cvd_z, p)
    _publish(m, arm, p, end_ns)


@kernel
def order_flow_signal(m: Record, arm: Record, p: Record, start_ns: int, end_ns: int, flows: Floats) -> float:
    """Order flow of a window in the form that the parameters ask for; NaN where it is not known.

    best: at the best quotes. multi: summed over the ranks of the book (Xu, Gould and Howison, Market
    Microstructure and Liquidity 4, 2018). integrated: projected on the first principal component of the
    ranks' flows, weights of absolute sum 1 (Cont, Cucuringu and Zhang, Quantitative Finance 23, 2023).
    Normalised forms are divided by the average depth of the window and have no unit.
    """
    scale = mean_depth(m, p.depth_levels, start_ns, end_ns) if p.normalise else 1.0
    if p.form == FORM_BEST:
        return flow_between(m, start_ns, end_ns) / scale
    if m.has_book == 0:
        return math.nan
    for level in range(p.depth_levels):
        flows[level] = level_flow_between(m, level, start_ns, end_ns) / scale
    if p.form == FORM_INTEGRATED:
        return _project(arm, flows[: p.depth_levels], p.ofi_z_alpha)
    return flows[: p.depth_levels].sum()


@kernel
def _project(arm: Record, flows: Floats, alpha: float) -> float:
    """Weigh the ranks by their first principal component, followed by one step of power iteration a bucket."""
    levels = len(flows)
    if np.isnan(flows).any():
        return math.nan
    for row in range(levels):
        for column in range(levels):
            product = flows[row] * flows[column]
            arm.covariance[row, column] += alpha * (product - arm.covariance[row, column])
    stepped = np.zeros(levels)
    for row in range(levels):
        for column in range(levels):
            stepped[row] += arm.covariance[row, column] * arm.weights[column]
    size = np.abs(stepped).sum()
    if size > 0.0:
        for row in range(levels):
            arm.weights[row] = stepped[row] / size
    return (arm.weights[:levels] * flows).sum() / np.abs(arm.weights[:levels]).sum()


@kernel
def _compare_with_return(m: Record, arm: Record, value: float, start_ns: int, end_ns: int) -> None:
    """Hold a window's flow against the mid return of the same window, bps."""
    before, after = mid_at(m, start_ns), mid_at(m, end_ns)
    if not (math.isnan(before) or math.isnan(after)):
        add_pair(arm.window.fit, value, (after / before - 1.0) * 1e4)


@kernel
def _publish(m: Record, arm: Record, p: Record, end_ns: int) -> None:
    """Write the bucket down: flow of the bucket itself, and the arm's state at its end."""
    row = arm.published[arm.signal_count % SIGNAL_RING]
    start_ns = end_ns - p.bucket_ns
    row.bucket_end_ns = end_ns
    row.epoch = arm.epoch
    row.mode = arm.mode
    row.gaps = m.gap_count
    row.lots = lots_at(m, end_ns)
    row.ofi_best = flow_between(m, start_ns, end_ns)
    row.ofi_multi = math.nan
    if m.has_book:
        row.ofi_multi = 0.0
        for level in range(min(p.depth_levels, MAX_LEVELS)):
            row.ofi_multi += level_flow_between(m, level, start_ns, end_ns)
    row.z_ofi = arm.ofi_z
    row.z_cvd = arm.cvd_z
    row.strength = arm.strength
    row.mid = mid_at(m, end_ns)
    arm.signal_count += 1


@kernel
def fuse(z_ofi: float, z_cvd: float, p: Record) -> float:
    """Return the weighted mean of both z-scores; NaN if one is missing, 0 if they must agree and do not."""
    if p.require_agreement and z_ofi * z_cvd < 0.0:
        return 0.0
    return (p.weight_ofi * z_ofi + p.weight_cvd * z_cvd) / (p.weight_ofi + p.weight_cvd)


@kernel
def direction(strength: float, held: int, p: Record) -> int:
    """Return the position wanted, -1, 0 or +1, given the one held: enter high, leave low."""
    if strength >= p.enter:
        return 1
    if strength <= -p.enter:
        return -1
    return held if held * strength >= p.exit and held != 0 else 0
