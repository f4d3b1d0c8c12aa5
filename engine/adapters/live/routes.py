"""From a message of one stream to events of one symbol."""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, Protocol

import msgspec

from engine.adapters.live.batches import EventRows
from engine.adapters.live.levels import LevelReader
from engine.adapters.live.spec import Listed
from engine.adapters.live.wire import (
    AggTrade,
    BookTicker,
    DepthSnapshot,
    DepthUpdate,
    Message,
    Reason,
    Refused,
    Trade,
)
from engine.clock import NS_PER_MS, NS_PER_S
from engine.strategy.events import BUYER, SELLER, Levels
from engine.strategy.layout import QUOTE, TRADE
from engine.strategy.sync import Apply, DepthSync, Lost, SequenceRule

BUY, SELL = float(BUYER), float(SELLER)

RESYNC_EVERY_NS = 10 * NS_PER_S
"""A book is not started over more often than this."""


class Route(Protocol):
    """Takes the messages of one stream of one instrument."""

    listed: Listed

    def accept(self, message: bytes, arrival_ns: int) -> None:
        """Turn a message into events. Raises Refused or msgspec.DecodeError; then nothing was added."""


class TradeRoute:
    """`@trade`: one event a fill. Fills outside the market (insurance fund, ADL) are counted in `skipped`."""

    def __init__(self, listed: Listed, rows: EventRows, skipped: Counter[str]) -> None:
        self.listed = listed
        self._ticker = listed.ticker
        self._add = rows.add
        self._skipped = skipped
        self._decode = msgspec.json.Decoder(Message[Trade], strict=False).decode

    def accept(self, message: bytes, arrival_ns: int) -> None:
        trade = self._decode(message).data
        if trade.s != self._ticker:
            raise Refused(Reason.SYMBOL)
        if trade.X != "MARKET":
            self._skipped["not_market"] += 1
            return
        side = SELL if trade.m else BUY
        self._add(TRADE, arrival_ns, trade.T * NS_PER_MS, trade.t, trade.p, trade.q, side, 0.0)


class AggTradeRoute:
    """`@aggTrade`: one event for the fills of a taker order at one price."""

    def __init__(self, listed: Listed, rows: EventRows) -> None:
        self.listed = listed
        self._ticker = listed.ticker
        self._add = rows.add
        self._decode = msgspec.json.Decoder(Message[AggTrade], strict=False).decode

    def accept(self, message: bytes, arrival_ns: int) -> None:
        trade = self._decode(message).data
        if trade.s != self._ticker:
            raise Refused(Reason.SYMBOL)
        side = SELL if trade.m else BUY
        self._add(TRADE, arrival_ns, trade.T * NS_PER_MS, trade.a, trade.p, trade.q, side, 0.0)


class QuoteRoute:
    """`@bookTicker`: one event a change of the best prices. Where the venue gives no time, it is the arrival."""

    def __init__(self, listed: Listed, rows: EventRows) -> None:
        self.listed = listed
        self._ticker = listed.ticker
        self._add = rows.add
        self._decode = msgspec.json.Decoder(Message[BookTicker], strict=False).decode

    def accept(self, message: bytes, arrival_ns: int) -> None:
        quote = self._decode(message).data
        if quote.s != self._ticker:
            raise Refused(Reason.SYMBOL)
        ts_ns = (quote.T or quote.E) * NS_PER_MS or arrival_ns
        self._add(QUOTE, arrival_ns, ts_ns, quote.u, quote.b, quote.B, quote.a, quote.A)


class Changes(NamedTuple):
    """A depth message, read: `ts_ns` is 0 where the venue gives no time."""

    ts_ns: int
    last_id: int
    bids: int
    levels: Levels


class DepthRoute:
    """`@depth`: changes of the book, in sequence, once a snapshot has come. `request` asks for one."""

    def __init__(
        self, listed: Listed, rows: EventRows, reader: LevelReader, request: "Callable[[DepthRoute], None]"
    ) -> None:
        self.listed = listed
        self.sync: DepthSync[Changes] = DepthSync(
            SequenceRule.SPOT if listed.market == "spot" else SequenceRule.FUTURES
        )
        self._rows = rows
        self._reader = reader
        self._request = request
        self._resynced_ns = -RESYNC_EVERY_NS
        self._decode = msgspec.json.Decoder(Message[DepthUpdate], strict=False).decode
        self._decode_snapshot = msgspec.json.Decoder(DepthSnapshot, strict=False).decode

    def accept(self, message: bytes, arrival_ns: int) -> None:
        diff = self._decode(message).data
        if diff.s != self.listed.ticker:
            raise Refused(Reason.SYMBOL)
        bids, levels = self._reader.read(diff.b, diff.a)
        changes = Changes((diff.T or diff.E) * NS_PER_MS, diff.u, bids, levels)
        self._carry_out(self.sync.on_diff(diff.U, diff.u, diff.pu if diff.pu >= 0 else None, changes), arrival_ns)
        if self.sync.needs_snapshot:
            self._request(self)

    def accept_snapshot(self, body: bytes, arrival_ns: int) -> None:
        """Take a REST answer. Raises msgspec.DecodeError. Whether it was new enough, `sync.needs_snapshot` says."""
        snapshot = self._decode_snapshot(body)
        bids, levels = self._reader.read(snapshot.bids, snapshot.asks)
        # A snapshot makes no flow, so its own time says nothing: it counts from when it came.
        changes = Changes(arrival_ns, snapshot.lastUpdateId, bids, levels)
        self._carry_out(self.sync.on_snapshot(snapshot.lastUpdateId, changes), arrival_ns)

    def on_disconnect(self) -> None:
        """Forget the book; the connection announces the gap for all streams of the symbol at once."""
        self.sync.on_disconnect()

    def resync(self, now_ns: int) -> None:
        """Start the book over from a new snapshot, unless it waits for one already or was started over just now.

        `now_ns` is monotonic. Who asks too often is banned by the venue.
        """
        if not self.sync.needs_snapshot and now_ns - self._resynced_ns >= RESYNC_EVERY_NS:
            self._resynced_ns = now_ns
            self.sync.on_disconnect()
            self._request(self)

    def _carry_out(self, steps: list[Apply[Changes] | Lost], arrival_ns: int) -> None:
        for step in steps:
            if isinstance(step, Lost):
                self._rows.add_gap(arrival_ns)
                continue
            ts_ns, last_id, bids, levels = step.payload
            self._rows.add_depth(arrival_ns, ts_ns or arrival_ns, last_id, bids, levels, step.is_snapshot)
