"""Snapshots of books over REST: one at a time per symbol, again and again until one is new enough."""

import asyncio
import logging
import random

import httpx
import msgspec

from engine.adapters.live.batches import Turn
from engine.adapters.live.inbox import Counts, Tap
from engine.adapters.live.link import BackOff
from engine.adapters.live.routes import DepthRoute
from engine.adapters.live.spec import ENDPOINTS, LiveSpec
from engine.adapters.live.wire import MAX_MESSAGE

logger = logging.getLogger(__name__)

LEVELS = 1000
"""The most that all three markets give; spot counts it as 50 of 6,000 request weights a minute."""

AT_ONCE = 4
"""Requests under way, all symbols together."""


class VenueError(Exception):
    """The venue did not give a usable answer. `wait_s`: how long it wants to be left alone."""

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class Snapshots:
    """Fetches what depth routes ask for. `bases` maps a market to its REST address."""

    def __init__(
        self, client: httpx.AsyncClient, bases: dict[str, str], turn: Turn, counts: Counts, spec: LiveSpec,
        dice: random.Random, tap: Tap | None,
    ) -> None:  # fmt: skip
        self._client = client
        self._bases = bases
        self._turn = turn
        self._counts = counts
        self._spec = spec
        self._dice = dice
        self._tap = tap
        self._places = asyncio.Semaphore(AT_ONCE)
        self._under_way: dict[DepthRoute, asyncio.Task[None]] = {}

    def request(self, route: DepthRoute) -> None:
        """Fetch a snapshot for a route, unless one is on its way."""
        if route not in self._under_way:
            self._under_way[route] = asyncio.get_running_loop().create_task(self._fetch_until_accepted(route))

    async def close(self) -> None:
        """End what is under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch_until_accepted(self, route: DepthRoute) -> None:
        back_off = BackOff(self._spec.backoff_first_s, self._spec.backoff_cap_s, self._dice)
        try:
            while route.sync.needs_snapshot:
                try:
                    await self._fetch(route)
                except (httpx.HTTPError, VenueError, msgspec.DecodeError) as error:
                    self._counts.failed_snapshots += 1
                    wait_s = max(back_off.next_s(), getattr(error, "wait_s", 0.0))
                    logger.warning(
                        "%s: no snapshot (%s); again in %.1f s", route.listed.symbol, str(error) or repr(error), wait_s
                    )
                    await asyncio.sleep(wait_s)
        finally:
            del self._under_way[route]

    async def _fetch(self, route: DepthRoute) -> None:
        """One attempt. Raises httpx.HTTPError, VenueError or msgspec.DecodeError."""
        listed = route.listed
        url = self._bases[listed.market] + ENDPOINTS[listed.market].depth_path
        async with self._places:
            answer = await self._client.get(url, params={"symbol": listed.ticker, "limit": LEVELS})
        check(answer)
        if len(answer.content) > MAX_MESSAGE:
            raise VenueError(f"{len(answer.content)} bytes are too many")
        arrival_ns = self._turn.begin()
        route.accept_snapshot(answer.content, arrival_ns)
        if self._tap is not None:
            self._tap(listed, arrival_ns, answer.content)
        if route.sync.needs_snapshot:
            raise VenueError("it was older than the changes that wait for it")
        self._counts.resyncs += 1


def check(answer: httpx.Response) -> None:
    """Raise VenueError where the venue refused."""
    if answer.status_code != httpx.codes.OK:
        raise VenueError(f"status {answer.status_code}", _retry_after_s(answer))


def _retry_after_s(answer: httpx.Response) -> float:
    """Binance answers 429 or 418 with the seconds to wait; asking sooner gets the address banned."""
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else 0.0
