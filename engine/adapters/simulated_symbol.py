"""Events of one simulated instrument, a chunk of market time at a time.

Orders come in bursts, make several fills at one instant, and some move the price. A step
up lifts the ask first and then the bid, a step down the reverse, so the spread widens for
a moment and the book can never cross.

Simplified: fills of one order all trade at the best price, and a side that follows a
step late does so at the latest at the end of its chunk.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.adapters.simulated_calibration import Calibration, Floats
from engine.adapters.simulated_latent import CELL_MS, CELLS, CHUNK_MS, SIDES, Latent, LatentProcess
from engine.clock import NS_PER_MS
from engine.strategy.events import Events
from engine.strategy.layout import EVENT, QUOTE, TRADE

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Orders:
    """Aggressive orders in time order: `at_ms` since the chunk's start, `step` in ticks, signed, 0 for none.

    `echo_ms` are the times of the changes of quantity that answer them, in any order.
    """

    at_ms: Ints
    side: Ints
    fills: Ints
    step: Ints
    echo_ms: Ints


@dataclass(frozen=True, slots=True)
class Quotes:
    """Changes of the book in time order: signed ticks and whether the side's quantity is new."""

    at_ms: Ints
    steps: tuple[Ints, Ints]
    fresh: tuple[NDArray[np.bool_], NDArray[np.bool_]]


class SymbolSource:
    """Makes the chunks of one instrument and carries the book from one to the next."""

    def __init__(self, calibration: Calibration, rng: np.random.Generator) -> None:
        self._c = calibration
        self._rng = rng
        self._latent = LatentProcess(calibration, rng)
        start = round(calibration.price * calibration.ticks_per_unit)
        self._start_ticks = start
        self._ticks = [start, start + 1]
        self._level = rng.standard_normal(2).tolist()
        self._lots = self._to_lots(calibration.depth_qty.of(rng.standard_normal(2))).tolist()
        self._trade_id = 0

    def opening(self, at_ns: int) -> Events:
        """Return the first best quote."""
        (bid, ask), (bid_lots, ask_lots) = self._ticks, self._lots
        unit, lot = self._c.ticks_per_unit, self._c.lots_per_unit
        return np.array([(QUOTE, at_ns, at_ns, -1, bid / unit, bid_lots / lot, ask / unit, ask_lots / lot)], EVENT)

    def next_chunk(self, start_ns: int) -> Events:
        """Return the events of start_ns < t <= start_ns + CHUNK_NS in arrival order."""
        latent = self._latent.next_chunk(start_ns)
        orders = self._orders(latent)
        quotes = self._quotes(latent, orders)
        before = tuple(self._ticks)
        ticks, lots = self._book(latent, quotes)
        trades = self._trades(orders, quotes, ticks, before)
        return self._merged(start_ns, quotes, ticks, lots, trades)

    def _arrivals(self, rate: Floats) -> tuple[Ints, Ints]:
        """Poisson arrivals at `rate` per cell: their cells and times in ms, in time order."""
        cells = np.repeat(np.arange(CELLS), self._rng.poisson(rate))
        at_ms = np.sort(cells * CELL_MS + self._rng.integers(1, CELL_MS + 1, cells.size))
        return (at_ms - 1) // CELL_MS, at_ms

    def _orders(self, latent: Latent) -> Orders:
        c, rng = self._c, self._rng
        cells, at_ms = self._arrivals(latent.order_rate)
        score = rng.standard_normal(cells.size)
        side = _signs(c.sign_loading * latent.order_flow[cells] + rng.standard_normal(cells.size))
        fills = np.rint(c.fills.of(score)).astype(np.int64)
        share = c.steps_per_s * c.order_step_share / c.orders_per_s
        odds = np.exp(c.fills_on_step * score - 0.5 * c.fills_on_step**2) * share
        moved = rng.random(cells.size) < odds
        fresh = math.sqrt(1.0 - c.step_on_fills**2) * rng.standard_normal(cells.size)
        step = np.where(moved, side * self._step_sizes(c.step_on_fills * (score - c.fills_on_step) + fresh), 0)
        return Orders(at_ms, side, fills, step, self._echoes(at_ms, score))

    def _echoes(self, at_ms: Ints, score: Floats) -> Ints:
        c, rng = self._c, self._rng
        mean = c.echo_share * c.resizes_per_s / c.orders_per_s
        origin = np.repeat(at_ms, rng.poisson(mean * np.exp(score - 0.5)))
        delay_ms = np.ceil(rng.exponential(c.echo_delay_s * 1000, origin.size)).astype(np.int64)
        return np.asarray(np.minimum(origin + delay_ms, CHUNK_MS), np.int64)

    def _step_sizes(self, scores: Floats) -> Ints:
        """Sizes in ticks; rounded at random, so that a coarse grid keeps the mean (0 means no move)."""
        c = self._c
        growth = self._ticks[0] / self._start_ticks
        size = c.step_ticks.of(scores) * (c.step_scale * growth)
        return np.asarray(np.floor(size + self._rng.random(scores.size)), np.int64)

    def _quotes(self, latent: Latent, orders: Orders) -> Quotes:
        """One change per order, price steps of no order, followers of steps, and changes of quantity only."""
        c, rng = self._c, self._rng
        cells, own_ms = self._arrivals(latent.step_rate)
        own_side = _signs(c.step_loading * latent.flow[cells] + rng.standard_normal(cells.size))
        own_step = own_side * self._step_sizes(rng.standard_normal(cells.size))
        resize_ms = np.concatenate([self._arrivals(latent.resize_rate)[1], orders.echo_ms])
        resize_side = _signs(rng.random(resize_ms.size) - 0.5)
        step = np.concatenate([orders.step, own_step])
        step_ms = np.concatenate([orders.at_ms, own_ms])
        late = (step != 0) & (rng.random(step.size) < c.two_step_share)
        delay_ms = np.ceil(rng.exponential(c.follow_delay_s * 1000, step.size)).astype(np.int64)
        follow_ms = np.minimum(step_ms + delay_ms, CHUNK_MS)[late]
        at_ms = np.concatenate([step_ms, resize_ms, follow_ms])
        order = np.argsort(at_ms, kind="stable")
        none = np.zeros(resize_ms.size, np.int64)
        taken = np.concatenate([orders.side, own_side, resize_side, -np.sign(step[late])])
        steps, fresh = [], []
        for sign in SIDES:
            leads = np.sign(step) == -sign
            now = np.where(leads | ~late, step, 0)
            moves = np.concatenate([now, none, np.where(leads, 0, step)[late]])[order]
            steps.append(moves)
            fresh.append((moves != 0) | (taken[order] == -sign))
        return Quotes(at_ms[order], (steps[0], steps[1]), (fresh[0], fresh[1]))

    def _book(self, latent: Latent, quotes: Quotes) -> tuple[list[Ints], list[Ints]]:
        """Prices in ticks and quantities in lots of both sides after each change."""
        c, rng = self._c, self._rng
        anew = math.sqrt((1.0 - c.depth_loading**2) * (1.0 - c.depth_memory))
        middles = (np.arange(CELLS) + 0.5) * CELL_MS
        ticks, lots = [], []
        for side, (steps, fresh) in enumerate(zip(quotes.steps, quotes.fresh, strict=True)):
            ticks.append(self._ticks[side] + np.cumsum(steps))
            level = np.cumsum(steps != 0)
            levels = np.concatenate([[self._level[side]], rng.standard_normal(int(level[-1]) if level.size else 0)])
            score = np.interp(quotes.at_ms, middles, latent.queues[side]) + anew * levels[level]
            young = np.exp(-_age_ms(quotes.at_ms, SIDES[side] * steps > 0) / (c.young_s * 1000))
            score -= c.young_gap * (young - c.young_mean)
            own = self._to_lots(c.depth_qty.of(score))
            newest = np.maximum.accumulate(np.where(fresh, np.arange(fresh.size), -1))
            lots.append(np.where(newest >= 0, own[newest], self._lots[side]))
            if fresh.size:
                self._ticks[side], self._lots[side] = int(ticks[-1][-1]), int(lots[-1][-1])
                self._level[side] = float(levels[-1])
        return ticks, lots

    def _to_lots(self, qty: Floats) -> Ints:
        return np.maximum(np.rint(qty * self._c.lots_per_unit), 1).astype(np.int64)

    def _trades(
        self, orders: Orders, quotes: Quotes, ticks: Sequence[Ints], before: Sequence[int]
    ) -> tuple[Ints, Ints, Ints, Ints]:
        """Time in ms, price in ticks, lots and side of every fill, at the best price before its instant."""
        last = np.searchsorted(quotes.at_ms, orders.at_ms, side="left")
        bid, ask = (np.concatenate([[old], path])[last] for old, path in zip(before, ticks, strict=True))
        price = np.where(orders.side > 0, ask, bid)
        at_ms, price, side = (np.repeat(column, orders.fills) for column in (orders.at_ms, price, orders.side))
        lots = self._to_lots(self._c.trade_qty.of(self._rng.standard_normal(at_ms.size)))
        return at_ms, price, lots, side

    def _merged(
        self,
        start_ns: int,
        quotes: Quotes,
        ticks: Sequence[Ints],
        lots: Sequence[Ints],
        trades: tuple[Ints, Ints, Ints, Ints],
    ) -> Events:
        """Trades before quotes of the same instant: a fill is what changes the book."""
        at_ms, price, qty, side = trades
        unit, lot = self._c.ticks_per_unit, self._c.lots_per_unit
        n_trades, n_quotes = at_ms.size, quotes.at_ms.size
        time_ms = np.concatenate([at_ms, quotes.at_ms])
        order = np.argsort(time_ms, kind="stable")

        def join(of_trades: NDArray[Any], of_quotes: NDArray[Any]) -> NDArray[Any]:
            joined: NDArray[Any] = np.concatenate([of_trades, of_quotes])[order]
            return joined

        ids = self._trade_id + 1 + np.arange(n_trades)
        self._trade_id += n_trades
        events = np.zeros(n_trades + n_quotes, EVENT)
        events["kind"] = join(np.full(n_trades, TRADE), np.full(n_quotes, QUOTE))
        events["ts_ns"] = events["arrival_ns"] = start_ns + time_ms[order] * NS_PER_MS
        events["id"] = join(ids, np.full(n_quotes, -1))
        events["a"] = join(price / unit, ticks[0] / unit)
        events["b"] = join(qty / lot, lots[0] / lot)
        events["c"] = join(side.astype(np.float64), ticks[1] / unit)
        events["d"] = join(np.zeros(n_trades), lots[1] / lot)
        return events


def _age_ms(at_ms: Ints, starts: NDArray[np.bool_]) -> Floats:
    """Time since the last start, or since the chunk began; 0 at a start itself."""
    return (at_ms - np.maximum.accumulate(np.where(starts, at_ms, 0))).astype(np.float64)


def _signs(values: Floats) -> Ints:
    """+1 where positive, else -1."""
    return np.where(values > 0.0, 1, -1)
