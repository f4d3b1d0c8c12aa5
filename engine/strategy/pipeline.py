"""Events to window records: a pure fold, two arms on the same events.

There is no clock here but the market's. Slices come in steps of one tick (50 ms of
market time); all decisions fall on ticks, so the same slices give the same records
bit for bit, however fast they are played.
"""

from dataclasses import dataclass

from engine.clock import NS_PER_MS, NS_PER_S
from engine.strategy.arm import Arm
from engine.strategy.events import TRADE, EventBatch, Instrument, is_sound_book, is_sound_trade
from engine.strategy.ofi import BIN_NS, FlowRing, order_flow
from engine.strategy.params import StrategyParams
from engine.strategy.quality import PendingSamples, clip
from engine.strategy.records import Counts, Measurement, WindowRecord
from engine.strategy.zscore import EwmaMoments

TICK_NS = BIN_NS
MAX_SKEW_NS = 60 * NS_PER_S
"""An event further than this from the feed's clock is refused: its time cannot be right."""

BASELINE = "baseline"
CANARY = "canary"

RETURN_SCALE_STEPS = 300


@dataclass(slots=True)
class Quote:
    """The last usable best bid and offer."""

    bid_px: float
    bid_qty: float
    ask_px: float
    ask_qty: float

    def mid(self) -> float:
        return 0.5 * (self.bid_px + self.ask_px)

    def spread_bps(self) -> float:
        return (self.ask_px - self.bid_px) / self.mid() * 1e4


class SymbolPipeline:
    """One symbol: shared book and flow, and an arm for stable and for candidate parameters."""

    def __init__(self, instrument: Instrument, measurement: Measurement, stable: StrategyParams) -> None:
        self.instrument = instrument
        self._measurement = measurement
        self._ring = FlowRing()
        self.arms = {name: Arm(name, self._ring, measurement, stable) for name in (BASELINE, CANARY)}
        self._pending = PendingSamples(measurement.horizons_ns())
        self._scales = [EwmaMoments() for _ in measurement.horizons_ms]
        self._quote: Quote | None = None
        self._last_trade_id: int | None = None
        self._now_ns: int | None = None
        self._begun_ns = 0
        self._quotes_this_tick = 0
        self._counts = Counts()

    def consume(self, clock_ns: int, batch: EventBatch | None) -> list[WindowRecord]:
        """Fold what arrived up to `clock_ns` (a multiple of the tick); return the windows it closed."""
        closed: list[WindowRecord] = []
        if self._now_ns is None:
            self._now_ns = self._begun_ns = clock_ns - TICK_NS
        while self._now_ns + TICK_NS < clock_ns:
            closed += self._tick(self._now_ns + TICK_NS)
        if batch is not None:
            for kind, ts, a, b, c, d, trade_id in batch:
                if abs(ts - clock_ns) > MAX_SKEW_NS:
                    self._counts.refused += 1
                elif kind == TRADE:
                    self._on_trade(a, b, c, trade_id)
                else:
                    self._on_book(ts, a, b, c, d)
        return closed + self._tick(clock_ns)

    def mid(self) -> float | None:
        """Current mid price, None before the first quote."""
        return self._quote.mid() if self._quote is not None else None

    def _on_trade(self, price: float, qty: float, aggressor: float, trade_id: int) -> None:
        counts = self._counts
        if not is_sound_trade(price, qty, aggressor):
            counts.refused += 1
            return
        if trade_id >= 0:
            if self._last_trade_id is not None:
                if trade_id <= self._last_trade_id:
                    counts.duplicates += 1
                    return
                missing = trade_id - self._last_trade_id - 1
                if missing:
                    counts.lost += missing
                    counts.gaps += 1
            self._last_trade_id = trade_id
        counts.trades += 1
        notional = self.instrument.notional_usd(price, qty)
        for arm in self.arms.values():
            arm.on_trade(notional, aggressor)

    def _on_book(self, ts: int, bid_px: float, bid_qty: float, ask_px: float, ask_qty: float) -> None:
        counts = self._counts
        if not is_sound_book(bid_px, bid_qty, ask_px, ask_qty):
            counts.refused += 1
            return
        if bid_px >= ask_px:
            counts.crossed += 1
            return
        counts.quotes += 1
        self._quotes_this_tick += 1
        last = self._quote
        if last is None:
            self._quote = Quote(bid_px, bid_qty, ask_px, ask_qty)
        else:
            flow = order_flow(last.bid_px, last.bid_qty, last.ask_px, last.ask_qty, bid_px, bid_qty, ask_px, ask_qty)
            if flow:
                self._ring.add(ts, flow)
            last.bid_px, last.bid_qty, last.ask_px, last.ask_qty = bid_px, bid_qty, ask_px, ask_qty
        for arm in self.arms.values():
            arm.paper.on_quote(ts, bid_px, ask_px)

    def _tick(self, now_ns: int) -> list[WindowRecord]:
        self._now_ns = now_ns
        quote = self._quote
        mid, spread_bps = (quote.mid(), quote.spread_bps()) if quote is not None else (None, None)
        for arm in self.arms.values():
            arm.on_tick(now_ns, mid, spread_bps, self._quotes_this_tick)
        self._quotes_this_tick = 0
        if now_ns % (self._measurement.grid_ms * NS_PER_MS) == 0 and mid is not None:
            self._sample(now_ns, mid)
        if now_ns % self._measurement.window_ns() == 0:
            return self._close_window(now_ns, mid)
        return []

    def _sample(self, now_ns: int, mid: float) -> None:
        for index, mid_then, values in self._pending.pop_due(now_ns):
            change = mid / mid_then - 1.0
            scale = self._scales[index]
            if scale.count >= 20 and scale.mean > 0.0:
                self._score(index, clip(change / scale.mean), values)
            scale.update(abs(change), 1.0 / RETURN_SCALE_STEPS)
        values = tuple(z for arm in self.arms.values() for z in arm.sample())
        self._pending.push(now_ns, mid, values)

    def _score(self, index: int, outcome: float, values: tuple[float | None, ...]) -> None:
        for position, arm in enumerate(self.arms.values()):
            arm.score(index, outcome, values[2 * position], values[2 * position + 1])

    def _close_window(self, end_ns: int, mid: float | None) -> list[WindowRecord]:
        """Return both arms' records; nothing for a window that was not heard from its start."""
        self._counts.late += self._ring.late_count
        self._ring.late_count = 0
        start_ns = end_ns - self._measurement.window_ns()
        records = [
            arm.close_window(self.instrument.symbol, start_ns, end_ns, self._counts, mid) for arm in self.arms.values()
        ]
        self._counts = Counts()
        return records if start_ns >= self._begun_ns else []
