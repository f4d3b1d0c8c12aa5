"""A live market: Binance's trades, best quotes and books, handed over in batches once a loop turn."""

import asyncio
import logging
import random
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import httpx

from engine.adapters.live.batches import EventRows, OnBatches, Turn
from engine.adapters.live.inbox import Counts, Inbox, Tap
from engine.adapters.live.levels import LevelReader
from engine.adapters.live.link import Link, combined_url
from engine.adapters.live.rest import Snapshots
from engine.adapters.live.routes import AggTradeRoute, DepthRoute, QuoteRoute, Route, TradeRoute
from engine.adapters.live.spec import STREAMS_PER_CONNECTION, Listed, LiveSpec, MarketSpec, listed
from engine.adapters.live.venue_clock import VenueClock, VenueTime
from engine.clock import NS_PER_S, Clock
from engine.strategy.events import EventBatch, Instrument

FULL_TURN = 64 * 1024
"""Bytes. A turn that reads as much may have left something: the least that event loops read at once."""

TALKATIVE = ("httpx", "picows")
"""Loggers that tell of every request and connection."""


class LiveFeed:
    """Listens to a `LiveSpec`. `dice` spreads waits; `tap` is given every accepted message, as a recorder needs it.

    `coalesce_ns` may be set at any time: where it is positive, the feed reads all that waits, hands it over,
    and does not look again before the next multiple of it. What comes meanwhile waits in the sockets: delayed,
    never dropped.

    Its time is the venue's (`venue_clock.py`), or that of `clock` as it is where `venue_time` is false or the
    specification names no place to ask. `timed` is set once it is known.
    Raises InputError where an instrument cannot be asked for.
    """

    simulated = False

    def __init__(
        self, spec: LiveSpec, clock: Clock, dice: random.Random, tap: Tap | None = None, *, venue_time: bool = True
    ) -> None:
        self.coalesce_ns = 0
        self.counts = Counts()
        self.timed = asyncio.Event()
        self._listed = listed(spec)
        self._spec = spec
        self._time_urls = [market.time_url for market in spec.markets if market.time_url is not None]
        self._clock = VenueClock(clock) if venue_time and self._time_urls else clock
        self._dice = dice
        self._tap = tap
        self._reader = LevelReader()
        self._links: list[Link] = []
        self._inboxes: list[Inbox] = []
        self._is_paused = False
        self._handed_over = 0  # bytes, up to the last turn
        self._books: dict[str, DepthRoute] = {}
        self._turn: Turn | None = None

    def instruments(self) -> list[Instrument]:
        """What it listens to."""
        return [one.instrument for one in self._listed]

    @property
    def messages(self) -> int:
        """Messages that came in, refused or not."""
        return sum(inbox.messages for inbox in self._inboxes)

    @property
    def bytes(self) -> int:
        """Their size, without framing."""
        return sum(inbox.bytes for inbox in self._inboxes)

    def tally(self) -> tuple[dict[str, int], dict[str, int]]:
        """What it went through by event, and messages that were not used by reason."""
        counts = self.counts
        events = {item.name: getattr(counts, item.name) for item in fields(counts) if item.type in (int, "int")}
        events |= {
            f"depth_{name}": sum(getattr(route.sync, name) for route in self._books.values())
            for name in ("gaps", "duplicates", "dropped")
        }
        return {"messages": self.messages, **events}, {str(k): n for k, n in (counts.refused + counts.skipped).items()}

    def now_ns(self) -> int:
        """Its time, nanoseconds since the epoch (UTC). Once `timed` is set, it does not go back."""
        return self._clock.now_ns()

    def resync(self, symbols: Iterable[str]) -> None:
        """Ask for new snapshots of books that the reader had to forget. Changes that wait for one are left alone,
        and nothing is asked while something is about to be handed over: it may be the snapshot."""
        if self._turn is None or self._turn.arrival_ns:
            return
        for symbol in symbols:
            self._books[symbol].resync(self._clock.mono_ns())

    async def run(self, on_batches: OnBatches, stop: asyncio.Event) -> None:
        """Call `on_batches` with what arrived, at most once a loop turn, until `stop` is set.

        An error that `on_batches` raises ends the feed and is raised here.
        """
        for name in TALKATIVE:
            logging.getLogger(name).setLevel(logging.WARNING)
        loop = asyncio.get_running_loop()
        self._inboxes, self._handed_over = [], 0
        failed: asyncio.Future[None] = loop.create_future()

        def hand_over(batches: dict[str, EventBatch]) -> None:
            try:
                on_batches(batches)
            except Exception as error:  # noqa: BLE001 - the loop would only log it
                if not failed.done():
                    failed.set_exception(error)
            if self.coalesce_ns > 0:
                self._pause(loop)

        turn = self._turn = Turn(self._clock, loop, hand_over)
        async with httpx.AsyncClient(timeout=self._spec.snapshot_timeout_s) as client:
            bases = {market.market: market.rest_base for market in self._spec.markets}
            snapshots = Snapshots(client, bases, turn, self.counts, self._spec, self._dice, self._tap)
            self._links = self._make_links(turn, snapshots)
            stopping: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
            tasks: list[asyncio.Future[None]] = []
            try:
                tasks += await self._open(client, stopping)
                await asyncio.wait([stopping, failed, *tasks], return_when=asyncio.FIRST_COMPLETED)
                for finished in (failed, *tasks):
                    if finished.done():
                        finished.result()
            finally:
                for task in (stopping, *tasks):
                    task.cancel()
                await asyncio.gather(stopping, *tasks, return_exceptions=True)
                await snapshots.close()
                failed.cancel()
                turn.flush()

    async def _open(self, client: httpx.AsyncClient, stopping: asyncio.Future[Any]) -> list[asyncio.Future[None]]:
        """Learn the venue's time, then let the links connect: the tasks that run. None where it stops before."""
        tasks: list[asyncio.Future[None]] = []
        if isinstance(self._clock, VenueClock):
            keeper = VenueTime(self._clock, client, self._time_urls, self._dice, self._spec.snapshot_timeout_s)
            beginning = asyncio.ensure_future(keeper.begin())
            try:
                await asyncio.wait([beginning, stopping], return_when=asyncio.FIRST_COMPLETED)
                if not beginning.done():
                    return []
            finally:
                beginning.cancel()
            tasks.append(asyncio.ensure_future(keeper.keep(beginning.result())))
        self.timed.set()
        return [*tasks, *(asyncio.ensure_future(link.run()) for link in self._links)]

    def _make_links(self, turn: Turn, snapshots: Snapshots) -> list[Link]:
        rows = {one: EventRows(one.symbol, turn.touched) for one in self._listed}
        links: list[Link] = []
        for market in self._spec.markets:
            for base, streams in self._streams(market, rows, snapshots).items():
                for names in _chunks(list(streams), STREAMS_PER_CONNECTION):
                    routes = {name: streams[name] for name in names}
                    symbols = [rows[one] for one in dict.fromkeys(route.listed for route in routes.values())]
                    inbox = Inbox(routes, self.counts, self._tap)
                    self._inboxes.append(inbox)
                    url = combined_url(base, names)
                    links.append(Link(url, routes, symbols, inbox, turn, self.counts, self._spec, self._dice))
        return links

    def _streams(
        self, market: MarketSpec, rows: dict[Listed, EventRows], snapshots: Snapshots
    ) -> dict[str, dict[str, Route]]:
        """Routes by address and name of stream; the streams of one symbol stand together."""
        streams: dict[str, dict[str, Route]] = {market.quotes_base: {}, market.trades_base: {}}
        for ticker in market.tickers:
            one = Listed(market.market, ticker)
            trades: Route = (
                AggTradeRoute(one, rows[one])
                if market.trades == "aggTrade"
                else TradeRoute(one, rows[one], self.counts.skipped)
            )
            streams[market.trades_base][one.stream(market.trades)] = trades
            streams[market.quotes_base][one.stream("bookTicker")] = QuoteRoute(one, rows[one])
            if market.depth is not None:
                depth = self._books[one.symbol] = DepthRoute(one, rows[one], self._reader, snapshots.request)
                streams[market.quotes_base][one.stream(f"depth@{market.depth}")] = depth
        return streams

    def _pause(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look away until the next multiple of `coalesce_ns`, when whoever ticks is awake anyway; but not if this
        turn brought so much that more may wait in the sockets."""
        before, self._handed_over = self._handed_over, self.bytes
        if self._is_paused or self._handed_over - before >= FULL_TURN:
            return
        self._is_paused = True
        self.counts.pauses += 1
        for link in self._links:
            for connection in link.open:
                connection.pause()
        left_ns = self.coalesce_ns - self._clock.now_ns() % self.coalesce_ns
        loop.call_later(left_ns / NS_PER_S, self._resume)

    def _resume(self) -> None:
        self._is_paused = False
        for link in self._links:
            for connection in link.open:
                connection.resume()


def _chunks(names: list[str], size: int) -> list[list[str]]:
    return [names[first : first + size] for first in range(0, len(names), size)]
