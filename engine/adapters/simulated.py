"""A simulated market, for machines without recordings and for runs longer than any recording.

Every symbol is named `TICKER.simulated`, so nothing made here can be taken for a real market.
Rates, sizes and depths are calibrated on minutes of set A; the hours of the day are an
assumption (`DAY_SHAPE`). `benchmarks/market_calibration.py` shows both side by side.

The same seed gives the same events bit for bit. Each ticker has its own stream of chance:
adding a ticker does not change the others, and a longer run begins like a shorter one.
"""

import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from engine.adapters.simulated_calibration import CALIBRATIONS
from engine.adapters.simulated_latent import CHUNK_NS
from engine.adapters.simulated_symbol import SymbolSource
from engine.clock import NS_PER_S
from engine.errors import FeedError
from engine.strategy.events import TICK_NS, EventBatch, Instrument, Slice

VENUE = "simulated"


class SimulatedMarket:
    """A feed of made-up events in the shape of `RecordedMarket`."""

    simulated = True

    def __init__(self, seed: int, tickers: Sequence[str], start_ns: int, duration_s: float) -> None:
        unknown = [ticker for ticker in tickers if ticker not in CALIBRATIONS]
        if unknown:
            raise FeedError(f"simulated market: {unknown[0]!r} is not known; known are {', '.join(CALIBRATIONS)}")
        if not tickers:
            raise FeedError(f"simulated market: no tickers were given; known are {', '.join(CALIBRATIONS)}")
        if seed < 0:
            raise FeedError(f"simulated market: seed must be >= 0, was {seed}")
        ticks = int(duration_s * NS_PER_S) // TICK_NS
        if ticks < 1:
            raise FeedError(f"simulated market: duration must be at least one tick of 50 ms, was {duration_s} s")
        self.name = f"simulated market, seed {seed}"
        self.start_ns = -(-start_ns // TICK_NS) * TICK_NS
        self.end_ns = self.start_ns + ticks * TICK_NS
        self._seed = seed
        self._tickers = sorted(set(tickers))

    def instruments(self) -> list[Instrument]:
        """Instruments by name."""
        return [Instrument(f"{ticker}.{VENUE}") for ticker in self._tickers]

    def common_span_ns(self) -> tuple[int, int]:
        """Every instrument has events from start to end."""
        return self.start_ns, self.end_ns

    def slices(self, step_ns: int = TICK_NS) -> Iterator[Slice]:
        """Yield slices of `step_ns`, whole ticks ending on multiples of it; events are made a chunk at a time."""
        sources = {
            f"{ticker}.{VENUE}": SymbolSource(CALIBRATIONS[ticker], self._generator(ticker)) for ticker in self._tickers
        }
        openings = {symbol: EventBatch(source.opening(self.start_ns)) for symbol, source in sources.items()}
        yield Slice(self.start_ns - TICK_NS, self.start_ns, openings)
        for chunk_ns in range(self.start_ns, self.end_ns, CHUNK_NS):
            yield from self._chunk(sources, chunk_ns, step_ns)

    def _chunk(self, sources: dict[str, SymbolSource], chunk_ns: int, step_ns: int) -> Iterator[Slice]:
        end_ns = min(chunk_ns + CHUNK_NS, self.end_ns)
        edges = [chunk_ns, *range((chunk_ns // step_ns + 1) * step_ns, end_ns, step_ns), end_ns]
        chunks = {symbol: source.next_chunk(chunk_ns) for symbol, source in sources.items()}
        bounds = {
            symbol: np.searchsorted(events["arrival_ns"], edges, side="right").tolist()
            for symbol, events in chunks.items()
        }
        for at in range(1, len(edges)):
            pieces = {
                symbol: EventBatch(events[bounds[symbol][at - 1] : bounds[symbol][at]])
                for symbol, events in chunks.items()
            }
            yield Slice(edges[at - 1], edges[at], {symbol: piece for symbol, piece in pieces.items() if len(piece)})

    def _generator(self, ticker: str) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence([self._seed, zlib.crc32(ticker.encode())]))
