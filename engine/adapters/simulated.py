"""A simulated market, for machines without recordings and for runs longer than any recording.

Every symbol is named `TICKER.simulated`, so nothing made here can be taken for a real market.
Rates, sizes and depths are calibrated on minutes of set A; the hours of the day are an
assumption (`DAY_SHAPE`). `benchmarks/market_calibration.py` shows both side by side.

The same seed gives the same events bit for bit. Each ticker has its own stream of chance:
adding a ticker does not change the others, and a longer run begins like a shorter one.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from engine.adapters.simulated_calibration import CALIBRATIONS
from engine.adapters.simulated_latent import CHUNK_NS
from engine.adapters.simulated_symbol import SymbolSource
from engine.clock import NS_PER_S
from engine.errors import FeedError
from engine.strategy.events import EventBatch, Instrument, Row, Slice
from engine.strategy.pipeline import TICK_NS

VENUE = "simulated"


@dataclass(slots=True)
class _Track:
    """One symbol in play: where its events come from, and those of the current chunk."""

    symbol: str
    source: SymbolSource
    rows: list[Row]
    bounds: list[int]


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

    def slices(self) -> Iterator[Slice]:
        """Yield every tick from start to end, empty ones included; events are made a chunk at a time."""
        tracks = [
            _Track(f"{ticker}.{VENUE}", SymbolSource(CALIBRATIONS[ticker], self._generator(ticker)), [], [])
            for ticker in self._tickers
        ]
        openings = {track.symbol: EventBatch([track.source.opening(self.start_ns)]) for track in tracks}
        yield Slice(self.start_ns, openings)
        for chunk_ns in range(self.start_ns, self.end_ns, CHUNK_NS):
            yield from self._chunk(tracks, chunk_ns)

    def _chunk(self, tracks: list[_Track], chunk_ns: int) -> Iterator[Slice]:
        clocks = np.arange(chunk_ns, min(chunk_ns + CHUNK_NS, self.end_ns) + TICK_NS, TICK_NS)
        for track in tracks:
            chunk = track.source.next_chunk(chunk_ns)
            track.rows = chunk.rows()
            track.bounds = np.searchsorted(chunk.ts_event_ns, clocks, side="right").tolist()
        for index, clock_ns in enumerate(clocks[1:].tolist()):
            batches = {}
            for track in tracks:
                first, last = track.bounds[index], track.bounds[index + 1]
                if first < last:
                    batches[track.symbol] = EventBatch(track.rows[first:last])
            yield Slice(clock_ns, batches)

    def _generator(self, ticker: str) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence([self._seed, zlib.crc32(ticker.encode())]))
