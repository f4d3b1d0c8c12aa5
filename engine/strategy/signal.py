"""The two signals of one arm, and their fusion.

Quotes and trades are shared between the arms; what differs is when a value is
taken, how it is smoothed and what it is compared with.
"""

import math

from engine.clock import NS_PER_MS
from engine.strategy.ofi import FlowRing
from engine.strategy.params import CvdParams, FusionParams, OfiParams
from engine.strategy.zscore import EwmaMoments, EwmaZ, alpha_of_half_life, alpha_of_span

MIN_OFI_BUCKETS = 20
MIN_CVD_TRADES = 50


class OfiSignal:
    """z of the signed square root of windowed order flow, taken on the arm's bucket grid.

    The square root tames the heavy tails that depth gives to flow.
    """

    __slots__ = ("_alpha", "_frozen_until_ns", "_next_ns", "_params", "_ring", "_z", "value", "z")

    def __init__(self, ring: FlowRing, params: OfiParams) -> None:
        self._ring = ring
        self._z = EwmaZ(MIN_OFI_BUCKETS)
        self._next_ns: int | None = None
        self._frozen_until_ns = 0
        self.value: float | None = None
        self.z: float | None = None
        self._adopt(params)

    def _adopt(self, params: OfiParams) -> None:
        self._params = params
        bucket_s = params.bucket_ms / 1000
        self._alpha = alpha_of_half_life(params.z_half_life_s / bucket_s)

    def change_params(self, params: OfiParams, at_ns: int) -> None:
        """Read the same flow on another grid from here on; nothing is rebuilt."""
        previous_next_ns = self._next_ns
        self._adopt(params)
        if previous_next_ns is not None:
            bucket_ns = params.bucket_ms * NS_PER_MS
            self._next_ns = -(-previous_next_ns // bucket_ns) * bucket_ns
        self.freeze(at_ns)

    def freeze(self, at_ns: int) -> None:
        """Give no value for `freeze_ms`: after a switch or a gap the flow is not comparable."""
        if self._params.freeze_ms > 0:
            self._frozen_until_ns = at_ns + self._params.freeze_ms * NS_PER_MS
            self.z = None

    def advance(self, clock_ns: int) -> bool:
        """Take every value whose watermark has passed; return whether there was one."""
        bucket_ns = self._params.bucket_ms * NS_PER_MS
        ready_ns = clock_ns - self._params.watermark_ms * NS_PER_MS
        if self._next_ns is None:
            window_ns = self._params.window_ms * NS_PER_MS
            self._next_ns = (clock_ns // bucket_ns + 1) * bucket_ns + window_ns // bucket_ns * bucket_ns
        taken = False
        while self._next_ns <= ready_ns:
            self._take(self._next_ns, clock_ns)
            self._next_ns += bucket_ns
            taken = True
        return taken

    def _take(self, end_ns: int, clock_ns: int) -> None:
        flow = self._ring.total(end_ns - self._params.window_ms * NS_PER_MS, end_ns)
        self.value = flow
        z = self._z.update(math.copysign(math.sqrt(abs(flow)), flow), self._alpha)
        self.z = None if clock_ns < self._frozen_until_ns else z


class CvdSignal:
    """z of the exponential mean of signed trade value, updated at each trade."""

    __slots__ = ("_alpha", "_ema", "_params", "_size", "_window_alpha", "_z", "cvd", "z")

    def __init__(self, params: CvdParams) -> None:
        self._size = EwmaMoments()
        self._z = EwmaZ(MIN_CVD_TRADES)
        self._ema = 0.0
        self.cvd = 0.0
        self.z: float | None = None
        self.change_params(params)

    def change_params(self, params: CvdParams) -> None:
        """Smooth and compare with other spans from here on; nothing is rebuilt."""
        self._params = params
        self._alpha = alpha_of_span(params.ema_span)
        self._window_alpha = alpha_of_span(params.window_ticks)

    def on_trade(self, notional: float, aggressor: float) -> None:
        """Add one trade: `notional` in quote currency, `aggressor` +1 or -1."""
        size = self._size
        kept = notional
        if size.count >= MIN_CVD_TRADES:
            kept = min(notional, size.mean + self._params.denoise_sigma * size.sd())
        size.update(notional, self._window_alpha)
        self.cvd += notional * aggressor
        self._ema += self._alpha * (kept * aggressor - self._ema)
        self.z = self._z.update(self._ema, self._window_alpha)


def fuse(z_ofi: float | None, z_cvd: float | None, params: FusionParams) -> float | None:
    """Return the weighted mean of both z-scores; None if one is missing, 0 if they must agree and do not."""
    if z_ofi is None or z_cvd is None:
        return None
    if params.require_agreement and z_ofi * z_cvd < 0.0:
        return 0.0
    total = params.weight_ofi + params.weight_cvd
    return (params.weight_ofi * z_ofi + params.weight_cvd * z_cvd) / total


def direction(strength: float | None, held: int, params: FusionParams) -> int:
    """Return the position wanted, -1, 0 or +1, given the one held: enter high, leave low."""
    if strength is None:
        return 0
    if strength >= params.enter:
        return 1
    if strength <= -params.enter:
        return -1
    still_held = held * strength >= params.exit and held != 0
    return held if still_held else 0
