"""The venue's time: the monotonic clock of this machine plus an offset measured against the venue's own clock.

Steps of the wall clock do not reach it. It never goes back: after the start it is only steered.
"""

import asyncio
import logging
import random
from typing import NamedTuple

import httpx
import msgspec

from engine.adapters.live.link import BackOff
from engine.adapters.live.rest import VenueError, check
from engine.adapters.live.wire import Ms
from engine.clock import NS_PER_MS, NS_PER_S, Clock

logger = logging.getLogger(__name__)

REQUESTS = 5
"""Per measurement. The first also opens the connection; the shortest round trip counts."""

EVERY_S = 600.0
"""Between measurements: a crystal that is off by 50 millionths strays by 30 ms meanwhile."""

RETRY_S = 5.0
"""Before the second attempt at a measurement that failed; doubles up to EVERY_S."""

STEER_NS_PER_S = 2 * NS_PER_MS
"""How fast a clock that was measured before is corrected."""

CATCH_UP_NS_PER_S = NS_PER_S // 2
"""How fast a clock that ran on the wall clock is corrected by the first measurement: a minute takes two."""


class Measured(NamedTuple):
    """Venue's time less monotonic time, ns, and how long the request took that told so, ns."""

    offset_ns: int
    round_trip_ns: int


class VenueClock:
    """A Clock whose `now_ns` is the venue's time. Until it is set, the wall clock's at the time of construction."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rate = 0
        self._since_ns = clock.mono_ns()
        self._from_ns = self._to_ns = clock.now_ns() - self._since_ns

    def now_ns(self) -> int:
        """Venue's time, nanoseconds since the epoch (UTC); never goes back."""
        mono_ns = self._clock.mono_ns()
        return mono_ns + self._offset_ns(mono_ns)

    def mono_ns(self) -> int:
        return self._clock.mono_ns()

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)

    def boot_id(self) -> str:
        return self._clock.boot_id()

    def set(self, offset_ns: int) -> None:
        """Step to an offset: only while nobody has read the time yet."""
        self._from_ns = self._to_ns = offset_ns

    def steer(self, measured: Measured, ns_per_s: int) -> None:
        """Move to an offset by at most `ns_per_s` (less than a second) a second.

        A difference that the round trip may have made is left alone.
        """
        mono_ns = self._clock.mono_ns()
        self._from_ns, self._since_ns, self._rate = self._offset_ns(mono_ns), mono_ns, ns_per_s
        strays = abs(measured.offset_ns - self._from_ns) > measured.round_trip_ns // 2
        self._to_ns = measured.offset_ns if strays else self._from_ns

    def _offset_ns(self, mono_ns: int) -> int:
        if self._from_ns == self._to_ns:
            return self._to_ns
        most_ns = (mono_ns - self._since_ns) * self._rate // NS_PER_S
        if self._to_ns > self._from_ns:
            return min(self._from_ns + most_ns, self._to_ns)
        return max(self._from_ns - most_ns, self._to_ns)


class ServerTime(msgspec.Struct):
    """The REST answer."""

    serverTime: Ms


_DECODE = msgspec.json.Decoder(ServerTime).decode

FAILURES = (httpx.HTTPError, VenueError, msgspec.DecodeError, TimeoutError)


class VenueTime:
    """Keeps a clock to the venue's time. `urls` are time endpoints: the first that answers is believed.

    A measurement may take `patience_s`.
    """

    def __init__(
        self, clock: VenueClock, client: httpx.AsyncClient, urls: list[str], dice: random.Random, patience_s: float
    ) -> None:
        self._clock = clock
        self._client = client
        self._urls = urls
        self._patience_s = patience_s
        self._back_off = BackOff(RETRY_S, EVERY_S, dice)
        self._is_measured = False

    async def begin(self) -> float:
        """Set the clock, or leave it on the wall clock's offset; return the seconds until `keep` should go on."""
        try:
            measured = await self._measure()
        except FAILURES as error:
            return self._failed(error, "the time of this machine has to do")
        self._is_measured = True
        self._clock.set(measured.offset_ns)
        return EVERY_S

    async def keep(self, wait_s: float) -> None:
        """Measure again and again until cancelled, first after `wait_s`."""
        while True:
            await asyncio.sleep(wait_s)
            try:
                measured = await self._measure()
            except FAILURES as error:
                wait_s = self._failed(error, "the last offset has to do")
                continue
            self._back_off.reset()
            self._clock.steer(measured, STEER_NS_PER_S if self._is_measured else CATCH_UP_NS_PER_S)
            self._is_measured, wait_s = True, EVERY_S

    def _failed(self, error: Exception, so: str) -> float:
        wait_s = max(self._back_off.next_s(), getattr(error, "wait_s", 0.0))
        why = str(error) or repr(error)
        logger.warning("the venue does not tell its time (%s); %s; asking again in %.0f s", why, so, wait_s)
        return wait_s

    async def _measure(self) -> Measured:
        """Raises one of FAILURES where no endpoint answers."""
        failures: list[Exception] = []
        async with asyncio.timeout(self._patience_s):
            for url in self._urls:
                try:
                    return min([await self._ask(url) for _ in range(REQUESTS)], key=lambda one: one.round_trip_ns)
                except FAILURES as error:
                    failures.append(error)
        raise failures[-1]

    async def _ask(self, url: str) -> Measured:
        """One request: what it tells was so in the middle between asking and hearing."""
        asked_ns = self._clock.mono_ns()
        answer = await self._client.get(url)
        heard_ns = self._clock.mono_ns()
        check(answer)
        told_ns = _DECODE(answer.content).serverTime * NS_PER_MS
        return Measured(told_ns - (asked_ns + heard_ns) // 2, heard_ns - asked_ns)
