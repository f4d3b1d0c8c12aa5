"""What live tests share: a plain reading of messages, and a feed that listens to a served tape."""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvloop
from numpy.typing import NDArray

from benchmarks.wire_server import WireServer, serving
from benchmarks.wire_tape import Instrument, Tape, WireMessage, WireSpec
from engine.adapters.live.feed import LiveFeed
from engine.adapters.live.inbox import Tap
from engine.adapters.live.spec import Listed, LiveSpec, MarketSpec
from engine.clock import SystemClock
from engine.strategy.events import EventBatch
from engine.strategy.layout import DEPTH, GAP, QUOTE, TRADE

RAW = Path(__file__).parents[5] / "shared" / "market" / "raw"
RAW_A, RAW_B = RAW / "A_binance_20240808_6inst", RAW / "B_binance_usdm_20240718_btc_eth"

needs_raw = pytest.mark.skipif(not RAW_A.is_dir(), reason=f"the recording {RAW_A.name} is not on this machine")

PATIENCE_S = 30.0

Row = tuple[Any, ...]


def plain_row(message: WireMessage) -> Row | None:
    """Kind, id, a, b, c, d and time (None: not on the wire) of a trade or best quote, by json and float alone."""
    data = json.loads(message.text)["data"]
    kind = message.stream.split("@")[1]
    ts_ns = next((data[name] * 1_000_000 for name in ("T", "E") if name in data), None)
    if kind in ("trade", "aggTrade"):
        side = -1.0 if data["m"] else 1.0
        return TRADE, data["t" if kind == "trade" else "a"], float(data["p"]), float(data["q"]), side, 0.0, ts_ns
    if kind == "bookTicker":
        return QUOTE, data["u"], *(float(data[name]) for name in "bBaA"), ts_ns
    return None


def plain_rows(messages: Iterable[WireMessage]) -> dict[str, list[Row]]:
    """`plain_row` of all trades and best quotes, by symbol, in order."""
    rows: dict[str, list[Row]] = defaultdict(list)
    for message in messages:
        row = plain_row(message)
        if row is not None:
            rows[Listed(*message.instrument).symbol].append(row)
    return dict(rows)


@dataclass
class Heard:
    """Everything a feed handed over."""

    events: dict[str, list[NDArray[np.void]]] = field(default_factory=lambda: defaultdict(list))
    books: dict[str, dict[str, dict[float, float]]] = field(default_factory=dict)
    snapshots: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    batches: int = 0

    def take(self, batches: dict[str, EventBatch]) -> None:
        for symbol, batch in batches.items():
            events, levels = batch.events, batch.levels
            self.batches += 1
            self.events[symbol].append(events.copy())
            for event in events[events["kind"] == DEPTH]:
                self._apply(symbol, event, levels)

    def rows(self, symbol: str) -> list[Row]:
        """Trades and best quotes, as `plain_row` says them."""
        events = np.concatenate(self.events[symbol])
        kept = events[(events["kind"] == TRADE) | (events["kind"] == QUOTE)]
        return [
            (int(e["kind"]), int(e["id"]), float(e["a"]), float(e["b"]), float(e["c"]), float(e["d"]), int(e["ts_ns"]))
            for e in kept
        ]

    def count(self, kind: int, symbol: str) -> int:
        return sum(int((events["kind"] == kind).sum()) for events in self.events.get(symbol, []))

    def gaps(self, symbol: str) -> int:
        return self.count(GAP, symbol)

    def _apply(self, symbol: str, event: Any, levels: NDArray[np.float64]) -> None:
        first, bids, asks = int(event["a"]), int(event["b"]), int(event["c"])
        if event["d"]:
            self.snapshots[symbol] += 1
            self.books[symbol] = {"b": {}, "a": {}}
        for side, rows in (("b", levels[first : first + bids]), ("a", levels[first + bids : first + bids + asks])):
            for price, qty in rows.tolist():
                book = self.books[symbol][side]
                book.pop(price, None) if qty == 0.0 else book.update({price: qty})


def same_rows(heard: list[Row], plain: list[Row]) -> bool:
    """Whether rows agree in everything; a time that was not on the wire agrees with any."""
    return len(heard) == len(plain) and all(
        one[:6] == other[:6] and other[6] in (None, one[6]) for one, other in zip(heard, plain, strict=True)
    )


def live_spec(tape: Tape, port: int, depth: str | None = "100ms", **changes: Any) -> LiveSpec:
    """A feed of everything on a tape, impatient enough for tests."""
    tickers: dict[str, list[str]] = defaultdict(list)
    for market, ticker in sorted({message.instrument for message in tape.messages}):
        tickers[market].append(ticker)
    speed = {market: _depth_speed(tape, market) or depth for market in tickers}
    markets = tuple(
        MarketSpec(
            market, tuple(names), depth=speed[market] if depth is not None else None,
            ws_url=f"ws://127.0.0.1:{port}/{market}", rest_url=f"http://127.0.0.1:{port}/{market}",
        )
        for market, names in tickers.items()
    )  # fmt: skip
    patience = {"stall_s": 5.0, "backoff_first_s": 0.01, "backoff_cap_s": 0.05}
    return LiveSpec(markets, **(patience | changes))


def _depth_speed(tape: Tape, market: str) -> str | None:
    names = (message.stream for message in tape.messages if message.instrument[0] == market)
    return next((name.split("@")[2] for name in names if "@depth@" in name), None)


Done = Callable[[WireServer, LiveFeed, Heard], bool]


def all_received(server: WireServer, feed: LiveFeed, heard: Heard) -> bool:
    """Whether the tape is over and everything that was sent has come in."""
    return server.is_over and feed.messages >= len(server.sent)


def listen(
    tape: Tape, wire: WireSpec, done: Done = all_received, tap: Tap | None = None, coalesce_ns: int = 0,
    depth: str | None = "100ms", **changes: Any,
) -> tuple[Heard, LiveFeed, WireServer]:  # fmt: skip
    """Serve a tape and listen to it until `done`. Fails where that takes longer than PATIENCE_S."""

    async def run() -> tuple[Heard, LiveFeed, WireServer]:
        async with serving(tape, wire) as server:
            heard, stop = Heard(), asyncio.Event()
            spec = live_spec(tape, server.port, depth, **changes)
            feed = LiveFeed(spec, SystemClock(), random.Random(1), tap)
            feed.coalesce_ns = coalesce_ns
            running = asyncio.ensure_future(feed.run(heard.take, stop))
            async with asyncio.timeout(PATIENCE_S):
                while not done(server, feed, heard) and not running.done():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            stop.set()
            await running
            return heard, feed, server

    return uvloop.run(run())


def plain_book(tape: Tape, instrument: Instrument) -> dict[str, dict[float, float]]:
    """The book at the end of a tape, by json and float alone."""
    start = json.loads(tape.snapshots[instrument])
    book = {side: {float(p): float(q) for p, q in start[name]} for side, name in (("b", "bids"), ("a", "asks"))}
    for message in tape.messages:
        if message.instrument == instrument and "@depth" in message.stream:
            diff = json.loads(message.text)["data"]
            for side in ("b", "a") if diff["u"] > start["lastUpdateId"] else ():
                book[side].update({float(price): float(qty) for price, qty in diff[side]})
    return {side: {price: qty for price, qty in levels.items() if qty > 0.0} for side, levels in book.items()}
