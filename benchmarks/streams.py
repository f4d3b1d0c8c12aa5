"""Streams of market events to measure with: a synthetic one of any length, and the recorded set A.

A stream comes in slices of market time, so that ten times the events need no more memory. Its events are
arrays of the engine's own memory layout, which the peers' feeds are converted from.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.clock import NS_PER_S
from engine.strategy.events import EventBatch, Events, Instrument, Slice
from engine.strategy.layout import EVENT, QUOTE, TRADE

SET_A = Path(__file__).resolve().parents[2] / "shared" / "market" / "sets" / "A_binance_20240808_6inst"

START_NS = 1_735_689_600 * NS_PER_S
"""2025-01-01T00:00:00Z."""

EVENTS_PER_S = 150
"""Of one symbol: 1,200 of all eight."""

TRADE_SHARE = 1 / 3
MOVE_SHARE = 0.06
"""Share of quotes that change a price; 3-10 % on the recorded instruments."""

TURN_SHARE = 0.3
"""Share of trades whose aggressor is not that of the trade before: takers come in runs."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Listing:
    """A synthetic instrument. Prices are whole ticks of 10^-price_digits, quantities whole lots of 10^-qty_digits."""

    symbol: str
    start_ticks: int
    price_digits: int
    typical_lots: int
    qty_digits: int


LISTINGS = (
    Listing("BTCUSDT.synthetic", 617_000, 1, 1_500, 3),
    Listing("ETHUSDT.synthetic", 268_300, 2, 12_000, 3),
    Listing("SOLUSDT.synthetic", 154_000, 3, 9_000, 1),
    Listing("BNBUSDT.synthetic", 51_700, 2, 800, 2),
    Listing("XRPUSDT.synthetic", 6_100, 4, 40_000, 1),
    Listing("DOGEUSDT.synthetic", 10_200, 5, 90_000, 0),
    Listing("ADAUSDT.synthetic", 3_400, 4, 60_000, 0),
    Listing("LTCUSDT.synthetic", 6_000, 2, 20_000, 3),
)


@dataclass(frozen=True, slots=True)
class Sums:
    """What every engine must agree on, of one symbol: signed trade quantity and order flow, in base units.

    `cvd_scale` and `flow_scale` add the magnitudes of the same terms: rounding is judged against them.
    """

    cvd: float
    cvd_scale: float
    flow: float
    flow_scale: float


def synthetic_instruments() -> list[Instrument]:
    """The eight instruments of the synthetic stream."""
    return [Instrument(item.symbol, lots_per_unit=10.0**item.qty_digits) for item in LISTINGS]


def synthetic_slices(market_s: int, seed: int, slice_s: int = 60) -> Iterator[Slice]:
    """Yield `market_s` seconds of the eight synthetic instruments, 1,200 events a second.

    Two thirds are best quotes, one third trades. Times of one symbol rise strictly; arrival is event time.
    A longer stream begins with the shorter one when that is whole slices.
    """
    tapes = {item.symbol: _Tape(item, np.random.default_rng([seed, n])) for n, item in enumerate(LISTINGS)}
    for first_s in range(0, market_s, slice_s):
        span_s = min(slice_s, market_s - first_s)
        start_ns = START_NS + first_s * NS_PER_S
        batches = {symbol: EventBatch(tape.draw(start_ns, span_s)) for symbol, tape in tapes.items()}
        yield Slice(start_ns, start_ns + span_s * NS_PER_S, batches)


class _Tape:
    """One synthetic instrument between two slices: its book, its last aggressor and its last ids.

    A side of the book steps back by a tick and the spread is two; then either side steps into
    the hole and it is one again. A quote changes one side, as a venue's best-quote stream does.
    """

    def __init__(self, listing: Listing, rng: np.random.Generator) -> None:
        self.listing = listing
        self.rng = rng
        self.is_wide = False
        self.ticks = [listing.start_ticks, listing.start_ticks + 1]
        self.lots = [float(listing.typical_lots), float(listing.typical_lots)]
        self.is_buyer = True
        self.quote_id = 0
        self.trade_id = 0

    def draw(self, start_ns: int, span_s: int) -> Events:
        """Return the events after `start_ns` and up to `span_s` seconds later."""
        count = EVENTS_PER_S * span_s
        events = np.zeros(count, EVENT)
        offsets = np.sort(self.rng.integers(0, span_s * NS_PER_S - count, count)) + np.arange(1, count + 1)
        events["ts_ns"] = events["arrival_ns"] = start_ns + offsets
        is_trade = self.rng.random(count) < TRADE_SHARE
        bid, ask = self._write_quotes(events, ~is_trade)
        self._write_trades(events, is_trade, bid, ask)
        return events

    def _write_quotes(self, events: Events, at: Flags) -> tuple[Ints, Ints]:
        """Fill in the quotes; return bid and ask in ticks before the first and after each, shape (quotes + 1,)."""
        count = int(at.sum())
        on_ask, step = self._steps(count)
        lots = self._draw_lots(count)
        sides = []
        for side, mine in enumerate((~on_ask, on_ask)):
            ticks = self.ticks[side] + np.concatenate([[0], np.cumsum(np.where(mine, step, 0))])
            held = _held(lots, mine, self.lots[side])
            self.ticks[side], self.lots[side] = int(ticks[-1]), float(held[-1])
            sides.append((ticks, held))
        (bid, bid_lots), (ask, ask_lots) = sides
        events["kind"][at] = QUOTE
        events["id"][at] = self.quote_id + 1 + np.arange(count)
        self.quote_id += count
        events["a"][at], events["b"][at] = self._prices(bid[1:]), self._quantities(bid_lots[1:])
        events["c"][at], events["d"][at] = self._prices(ask[1:]), self._quantities(ask_lots[1:])
        return bid, ask

    def _steps(self, count: int) -> tuple[Flags, Ints]:
        """Return which side each quote changes (True: ask) and by how many ticks."""
        moves = self.rng.random(count) < MOVE_SHARE
        was_wide = (self.is_wide + np.cumsum(moves) - moves) % 2 == 1
        self.is_wide = bool((self.is_wide + int(moves.sum())) % 2)
        up = self.rng.random(count) < 0.5
        on_ask = np.where(moves, up != was_wide, self.rng.random(count) < 0.5)
        return on_ask, np.where(moves, np.where(up, 1, -1), 0)

    def _write_trades(self, events: Events, at: Flags, bid: Ints, ask: Ints) -> None:
        """Fill in the trades: a buyer pays the ask that stands then, a seller gets the bid."""
        count = int(at.sum())
        turns = np.cumsum(self.rng.random(count) < TURN_SHARE)
        buys = (turns % 2 == 0) == self.is_buyer
        standing = np.cumsum(~at)[at]
        events["kind"][at] = TRADE
        events["id"][at] = self.trade_id + 1 + np.arange(count)
        events["a"][at] = self._prices(np.where(buys, ask[standing], bid[standing]))
        events["b"][at] = self._quantities(self._draw_lots(count))
        events["c"][at] = np.where(buys, 1.0, -1.0)
        self.trade_id += count
        if count:
            self.is_buyer = bool(buys[-1])

    def _draw_lots(self, count: int) -> Floats:
        drawn = self.rng.lognormal(np.log(self.listing.typical_lots), 1.0, count)
        return np.maximum(1.0, np.rint(drawn))

    def _prices(self, ticks: Ints) -> Floats:
        """A whole number by a power of ten is the very float that the price's text is read as."""
        prices: Floats = ticks / 10**self.listing.price_digits
        return prices

    def _quantities(self, lots: Floats) -> Floats:
        quantities: Floats = lots / 10**self.listing.qty_digits
        return quantities


def _held(values: Floats, at: Flags, first: float) -> Floats:
    """Return the last value that was set, `first` before any: shape (n + 1,)."""
    latest = np.maximum.accumulate(np.concatenate([[0], np.where(at, np.arange(1, len(values) + 1), 0)]))
    held: Floats = np.concatenate([[first], values])[latest]
    return held


def joined(slices: Iterable[Slice]) -> dict[str, Events]:
    """Return every symbol's events of all slices in one array: what an engine without streaming takes."""
    parts: dict[str, list[Events]] = {}
    for piece in slices:
        for symbol, batch in piece.batches.items():
            parts.setdefault(symbol, []).append(batch.events)
    return {symbol: np.concatenate(arrays) for symbol, arrays in parts.items()}


def order_flow(quotes: Events) -> Floats:
    """Return e_n of every quote but the first, shape (n - 1,), in base units.

    Cont, Kukanov and Stoikov, J. Financial Econometrics 12(1), 2014, equation for the best level.
    """
    old, new = quotes[:-1], quotes[1:]
    bid = (new["a"] >= old["a"]) * new["b"] - (new["a"] <= old["a"]) * old["b"]
    ask = (new["c"] <= old["c"]) * new["d"] - (new["c"] >= old["c"]) * old["d"]
    flow: Floats = bid - ask
    return flow


def true_sums(events: Events) -> Sums:
    """Return one symbol's sums by plain numpy, its events in one array."""
    trades = events[events["kind"] == TRADE]
    each = order_flow(events[events["kind"] == QUOTE])
    return Sums(
        cvd=float(np.sum(trades["b"] * trades["c"])),
        cvd_scale=float(np.sum(trades["b"])),
        flow=float(each.sum()),
        flow_scale=float(np.abs(each).sum()),
    )
