"""Streams that share a connection: reconnected, replaced before the venue ends them, watched for silence."""

import asyncio
import logging
import random

from picows import WSError

from engine.adapters.live.batches import EventRows, Turn
from engine.adapters.live.connection import Connection, connect
from engine.adapters.live.inbox import Counts, Inbox
from engine.adapters.live.routes import DepthRoute, Route
from engine.adapters.live.silence import StreamWatch
from engine.adapters.live.spec import LiveSpec

logger = logging.getLogger(__name__)

CONNECT_ERRORS = (OSError, WSError, TimeoutError)

CHECKS_PER_STALL = 4


class BackOff:
    """Waits that double from `first_s` to `cap_s`; each is drawn between half and the whole of its turn."""

    def __init__(self, first_s: float, cap_s: float, dice: random.Random) -> None:
        self._first_s, self._cap_s, self._dice = first_s, cap_s, dice
        self._failures = 0

    def next_s(self) -> float:
        """How long to wait after one more failure."""
        full_s = min(self._cap_s, self._first_s * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return full_s * (0.5 + 0.5 * self._dice.random())

    def reset(self) -> None:
        """It worked."""
        self._failures = 0


class Link:
    """Routes of one connection, and what happens to it. `rows` are the symbols that lose events when it breaks."""

    def __init__(
        self, url: str, routes: dict[str, Route], rows: list[EventRows], inbox: Inbox, turn: Turn, counts: Counts,
        spec: LiveSpec, dice: random.Random,
    ) -> None:  # fmt: skip
        self.open: set[Connection] = set()
        self._url = url
        self._routes = routes
        self._rows = rows
        self._inbox = inbox
        self._turn = turn
        self._counts = counts
        self._spec = spec
        self._dice = dice
        self._streams = StreamWatch(routes, spec.stall_s, counts)
        self._back_off = BackOff(spec.backoff_first_s, spec.backoff_cap_s, dice)

    async def run(self) -> None:
        """Keep a connection open until cancelled."""
        try:
            while True:
                connection = await self._connect_patiently()
                await self._watch(connection)
                self._announce_loss()
                await asyncio.sleep(self._back_off.next_s())
                self._counts.reconnects += 1
        finally:
            for connection in list(self.open):
                connection.close()

    async def _connect_patiently(self) -> Connection:
        while True:
            try:
                return await self._connect(hold=False)
            except CONNECT_ERRORS as error:
                wait_s = self._back_off.next_s()
                self._counts.failed_connects += 1
                logger.warning("no connection to %s (%s); next attempt in %.1f s", self._host, error, wait_s)
                await asyncio.sleep(wait_s)

    async def _connect(self, hold: bool) -> Connection:
        connection = await connect(self._url, self._inbox, self._turn, hold)
        self._counts.connects += 1
        self.open.add(connection)
        return connection

    async def _watch(self, connection: Connection) -> None:
        """Return when the connection, or the one that replaced it, is lost."""
        loop = asyncio.get_running_loop()
        check_s = self._spec.stall_s / CHECKS_PER_STALL
        seen, heard_at, rotate_at = self._inbox.messages, loop.time(), loop.time() + self._lifetime_s()
        self._streams.begin(heard_at)
        while not await self._closes_within(connection, min(check_s, max(0.0, rotate_at - loop.time()))):
            if self._inbox.messages > seen:
                seen, heard_at = self._inbox.messages, loop.time()
                self._back_off.reset()
                if self._streams.check(self._inbox.heard, heard_at):
                    self._counts.stalls += 1
                    break
            elif loop.time() - heard_at >= self._spec.stall_s:
                self._counts.stalls += 1
                logger.warning("%s has sent nothing for %.0f s; connecting again", self._host, self._spec.stall_s)
                break
            if loop.time() >= rotate_at:
                old, connection = connection, await self._rotate(connection)
                wait_s = self._spec.stall_s if connection is old else self._lifetime_s()
                heard_at, rotate_at = loop.time(), loop.time() + wait_s
        self._drop(connection)

    async def _rotate(self, old: Connection) -> Connection:
        """Replace a connection without a gap: what the new one brings is held back until the old one is gone.

        What both have brought is repeated then, and dropped by its ids further down.
        """
        try:
            new = await self._connect(hold=True)
        except CONNECT_ERRORS as error:
            self._counts.failed_connects += 1
            logger.warning("%s cannot be replaced yet (%s)", self._host, error)
            return old
        before = self._inbox.messages
        old_is_lost = await self._closes_within(old, self._spec.overlap_s)
        if new.closed.is_set() or (not new.held and self._inbox.messages > before):
            self._drop(new)
            return old
        self._drop(old)
        if old_is_lost:
            self._announce_loss()
        new.release()
        self._counts.rotations += 1
        return new

    async def _closes_within(self, connection: Connection, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await connection.closed.wait()
        except TimeoutError:
            return False
        return True

    def _drop(self, connection: Connection) -> None:
        self.open.discard(connection)
        connection.close()

    def _announce_loss(self) -> None:
        """Every symbol has a gap now, and its book needs a snapshot."""
        arrival_ns = self._turn.begin()
        for rows in self._rows:
            rows.add_gap(arrival_ns)
        for route in self._routes.values():
            if isinstance(route, DepthRoute):
                route.on_disconnect()

    def _lifetime_s(self) -> float:
        """Up to a tenth shorter than allowed, so that connections are not all replaced at once."""
        return self._spec.rotate_s * (1.0 - 0.1 * self._dice.random())

    @property
    def _host(self) -> str:
        return self._url.partition("/stream?")[0]


def combined_url(base: str, streams: list[str]) -> str:
    """Address of a combined stream."""
    return f"{base}/stream?streams={'/'.join(streams)}"
