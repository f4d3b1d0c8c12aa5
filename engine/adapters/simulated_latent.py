"""The hidden state that moves one simulated instrument, a chunk of market time at a time.

A latent order flow (two AR(1) parts on a grid of 50 ms) decides the side of orders, the
direction of price steps and the length of the queues at the best quotes. Because it lasts,
recent flow says something about the next return, and less the later it is read; orders
follow it later than quotes do. A log-normal rate makes orders come in bursts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from engine.adapters.simulated_calibration import DAY_SHAPE, Calibration, Floats
from engine.clock import NS_PER_MS, NS_PER_S

CHUNK_NS = 60 * NS_PER_S
CELL_MS = 50
CELLS = CHUNK_NS // (CELL_MS * NS_PER_MS)
CHUNK_MS = CELLS * CELL_MS
DAY_NS = 86_400 * NS_PER_S

SIDES = (1, -1)
"""Bid, ask: the sign with which latent buying lengthens the queue."""


@dataclass(frozen=True, slots=True)
class Latent:
    """Hidden state per grid cell, shape (CELLS,); `order_flow` is the flow that orders follow.

    `queues` are the normal scores of bid, then ask, without the part drawn anew at each price.
    """

    flow: Floats
    order_flow: Floats
    order_rate: Floats
    resize_rate: Floats
    step_rate: Floats
    queues: tuple[Floats, Floats]


class LatentProcess:
    """Makes the hidden state and carries it from one chunk to the next."""

    def __init__(self, calibration: Calibration, rng: np.random.Generator) -> None:
        self._c = calibration
        self._rng = rng
        self._parts = rng.standard_normal(6).tolist()
        self._last_flow = np.zeros(round(calibration.order_lag_s * 1000 / CELL_MS))

    def next_chunk(self, start_ns: int) -> Latent:
        """Return the hidden state of the cells from start_ns on."""
        c = self._c
        flow = self._mixture(0, c.flow_share, c.flow_tau_s)
        known = np.concatenate([self._last_flow, flow])
        self._last_flow = known[CELLS:]
        log_rate = self._mixture(2, c.burst_var, c.burst_tau_s)
        var, share = sum(c.burst_var), c.quote_burst_share
        day = _day_factor(start_ns) * CELL_MS / 1000
        orders = day * np.exp(log_rate - 0.5 * var)
        quotes = day * np.exp(share * log_rate - 0.5 * share * share * var)
        return Latent(
            flow=flow,
            order_flow=known[:CELLS],
            order_rate=c.orders_per_s * orders,
            resize_rate=(1.0 - c.echo_share) * c.resizes_per_s * quotes,
            step_rate=c.own_steps_per_s * quotes,
            queues=self._queues(flow),
        )

    def _queues(self, flow: Floats) -> tuple[Floats, Floats]:
        c = self._c
        own = math.sqrt((1.0 - c.depth_loading**2) * c.depth_memory)
        bid, ask = (
            sign * c.depth_loading * flow + own * self._autoregression(4 + index, c.depth_tau_s)
            for index, sign in enumerate(SIDES)
        )
        return bid, ask

    def _autoregression(self, index: int, tau_s: float) -> Floats:
        """Next CELLS values of AR(1) part `index` with unit variance."""
        keep = math.exp(-CELL_MS / 1000 / tau_s)
        noise = (math.sqrt(1.0 - keep * keep) * self._rng.standard_normal(CELLS)).tolist()
        path = list(accumulate(noise, lambda state, shock: keep * state + shock, initial=self._parts[index]))
        self._parts[index] = path[-1]
        return np.array(path[1:])

    def _mixture(self, first: int, variances: Sequence[float], taus_s: Sequence[float]) -> Floats:
        """Sum of AR(1) parts from index `first` on."""
        parts = [
            math.sqrt(variance) * self._autoregression(first + index, tau_s)
            for index, (variance, tau_s) in enumerate(zip(variances, taus_s, strict=True))
        ]
        return np.asarray(np.sum(parts, axis=0), np.float64)


def _day_factor(start_ns: int) -> Floats:
    """Factor of the day's shape on every cell of a chunk, shape (CELLS,)."""
    cells_ns = start_ns + np.arange(CELLS) * CELL_MS * NS_PER_MS
    hours = (cells_ns % DAY_NS) / (3600 * NS_PER_S)
    return np.interp(hours, np.arange(len(DAY_SHAPE)), DAY_SHAPE, period=len(DAY_SHAPE))
