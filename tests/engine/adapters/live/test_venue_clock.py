"""The venue's time: measured, steered, never set back, whatever the wall clock does."""

import asyncio
import random
from dataclasses import dataclass

import httpx
import pytest

from engine.adapters.live.venue_clock import (
    CATCH_UP_NS_PER_S,
    EVERY_S,
    REQUESTS,
    RETRY_S,
    STEER_NS_PER_S,
    Measured,
    VenueClock,
    VenueTime,
)
from engine.clock import NS_PER_MS, NS_PER_S

START_NS = 1_735_689_600 * NS_PER_S
VENUE_LESS_MONO_NS = START_NS - 7 * NS_PER_S


@dataclass
class TwoClocks:
    """A machine whose wall clock jumps when told to, while its monotonic clock runs."""

    wall_ns: int = START_NS
    at_ns: int = 1_000 * NS_PER_S

    def now_ns(self) -> int:
        return self.wall_ns

    def mono_ns(self) -> int:
        return self.at_ns

    def sleep(self, seconds: float) -> None:
        self.pass_by(round(seconds * NS_PER_S))

    def boot_id(self) -> str:
        return "here"

    def pass_by(self, ns: int) -> None:
        self.wall_ns += ns
        self.at_ns += ns


class Venue:
    """Answers after `ways_ms` (there, back), one pair a request, the last from then on; or refuses."""

    def __init__(self, machine: TwoClocks, ways_ms: tuple[tuple[int, int], ...] = ((1, 1),)) -> None:
        self.asked: list[str] = []
        self.answer: httpx.Response | Exception | None = None
        self._machine = machine
        self._ways_ms = ways_ms

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        if isinstance(self.answer, Exception):
            raise self.answer
        there, back = self._ways_ms[min(len(self.asked), len(self._ways_ms)) - 1]
        self._machine.pass_by(there * NS_PER_MS)
        told_ms = (self._machine.at_ns + VENUE_LESS_MONO_NS) // NS_PER_MS
        self._machine.pass_by(back * NS_PER_MS)
        return self.answer or httpx.Response(200, content=b'{"serverTime":%d}' % told_ms)


def begin(venue: Venue, clock: VenueClock, *urls: str) -> float:
    async def run() -> float:
        async with httpx.AsyncClient(transport=httpx.MockTransport(venue)) as client:
            return await VenueTime(clock, client, list(urls or ("http://x/time",)), random.Random(1), 5.0).begin()

    return asyncio.run(run())


def test_before_it_is_measured_it_runs_on_from_the_wall_clock() -> None:
    machine = TwoClocks()
    clock = VenueClock(machine)

    machine.pass_by(5)

    assert clock.now_ns() == START_NS + 5
    assert (clock.mono_ns(), clock.boot_id()) == (machine.at_ns, "here")


@pytest.mark.parametrize("jump_s", [-3_600, -1, 1, 3_600])
def test_a_jump_of_the_wall_clock_does_not_reach_it(jump_s: int) -> None:
    machine = TwoClocks()
    clock = VenueClock(machine)

    machine.wall_ns += jump_s * NS_PER_S
    machine.pass_by(50 * NS_PER_MS)

    assert clock.now_ns() == START_NS + 50 * NS_PER_MS


def test_it_is_set_by_the_middle_of_the_shortest_round_trip() -> None:
    machine = TwoClocks()
    clock = VenueClock(machine)
    venue = Venue(machine, ((300, 20), (2, 2), (90, 10)))

    wait_s = begin(venue, clock)

    assert clock.now_ns() == machine.at_ns + VENUE_LESS_MONO_NS
    assert (len(venue.asked), wait_s) == (REQUESTS, EVERY_S)


@pytest.mark.parametrize(("change_ms", "rate"), [(30, STEER_NS_PER_S), (-30, STEER_NS_PER_S), (-61_000, NS_PER_S // 2)])
def test_it_is_steered_to_an_offset_no_faster_than_told_and_never_goes_back(change_ms: int, rate: int) -> None:
    machine = TwoClocks()
    clock = VenueClock(machine)
    times, begun_ns = [clock.now_ns()], clock.now_ns() - machine.at_ns

    clock.steer(Measured(begun_ns + change_ms * NS_PER_MS, 0), rate)
    for _ in range(4):
        machine.pass_by(abs(change_ms) * NS_PER_MS * NS_PER_S // rate // 4)
        times.append(clock.now_ns())

    assert times == sorted(times)
    assert times[-1] - machine.at_ns == begun_ns + change_ms * NS_PER_MS
    halfway_ns = (times[2] - times[0]) - 2 * (abs(change_ms) * NS_PER_MS * NS_PER_S // rate // 4)
    assert halfway_ns == pytest.approx(change_ms * NS_PER_MS / 2, abs=10)


def test_nanosecond_by_nanosecond_it_does_not_go_back() -> None:
    machine = TwoClocks()
    clock = VenueClock(machine)
    clock.steer(Measured(clock.now_ns() - machine.at_ns - NS_PER_S, 0), CATCH_UP_NS_PER_S)

    times = []
    for _ in range(1_000):
        machine.pass_by(1)
        times.append(clock.now_ns())

    assert times == sorted(times)


def test_a_new_measurement_takes_over_from_where_steering_is() -> None:
    machine = TwoClocks()
    clock = VenueClock(machine)
    clock.steer(Measured(clock.now_ns() - machine.at_ns + 30 * NS_PER_MS, 0), STEER_NS_PER_S)

    machine.pass_by(NS_PER_S)
    before_ns = clock.now_ns()
    clock.steer(Measured(before_ns - machine.at_ns - NS_PER_MS, 0), STEER_NS_PER_S)

    assert clock.now_ns() == before_ns
    machine.pass_by(NS_PER_S)
    assert clock.now_ns() == before_ns + NS_PER_S - NS_PER_MS


def test_a_difference_that_the_way_may_have_made_is_left_alone() -> None:
    machine = TwoClocks()
    clock = VenueClock(machine)

    clock.steer(Measured(clock.now_ns() - machine.at_ns + 10 * NS_PER_MS, 20 * NS_PER_MS), STEER_NS_PER_S)
    machine.pass_by(10 * NS_PER_S)

    assert clock.now_ns() == START_NS + 10 * NS_PER_S


@pytest.mark.parametrize(
    "bad",
    [
        httpx.ConnectError("refused"),
        httpx.Response(500),
        httpx.Response(200, content=b"<html>"),
        httpx.Response(200, content=b'{"serverTime":0}'),
        httpx.Response(200, content=b'{"serverTime":"now"}'),
    ],
    ids=["refused", "500", "html", "zero", "text"],
)
def test_where_the_venue_does_not_tell_the_wall_clock_of_the_start_has_to_do(
    bad: httpx.Response | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    machine = TwoClocks()
    clock, venue = VenueClock(machine), Venue(machine, ((0, 0),))
    venue.answer = bad

    wait_s = begin(venue, clock)

    assert clock.now_ns() == START_NS
    assert RETRY_S / 2 <= wait_s <= RETRY_S
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_venue_that_asks_for_patience_gets_it() -> None:
    machine = TwoClocks()
    venue = Venue(machine)
    venue.answer = httpx.Response(418, headers={"Retry-After": "120"})

    assert begin(venue, VenueClock(machine)) == 120.0


def test_the_next_market_is_asked_where_one_does_not_answer() -> None:
    machine = TwoClocks()
    clock, asked = VenueClock(machine), list[str]()

    class OneOfTwo(Venue):
        def __call__(self, request: httpx.Request) -> httpx.Response:
            asked.append(request.url.host)
            return httpx.Response(503) if request.url.host == "spot" else super().__call__(request)

    assert begin(OneOfTwo(machine), clock, "http://spot/time", "http://usdm/time") == EVERY_S

    assert asked == ["spot"] + ["usdm"] * REQUESTS
    assert clock.now_ns() == machine.at_ns + VENUE_LESS_MONO_NS


def test_a_venue_that_never_answers_does_not_hold_up_the_start() -> None:
    async def silent(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(60.0)
        return httpx.Response(200)

    async def run() -> float:
        async with httpx.AsyncClient(transport=httpx.MockTransport(silent), timeout=None) as client:
            return await VenueTime(VenueClock(TwoClocks()), client, ["http://x"], random.Random(1), 0.05).begin()

    assert asyncio.run(asyncio.wait_for(run(), 5.0)) <= RETRY_S


@pytest.mark.parametrize(("fails_first", "rate"), [(False, STEER_NS_PER_S), (True, CATCH_UP_NS_PER_S)])
def test_it_is_asked_again_and_steered_quickly_only_after_a_start_without_an_answer(
    fails_first: bool, rate: int
) -> None:
    machine = TwoClocks()
    clock, venue = VenueClock(machine), Venue(machine, ((0, 0),))

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(venue)) as client:
            keeper = VenueTime(clock, client, ["http://x/time"], random.Random(1), 5.0)
            venue.answer = httpx.Response(503) if fails_first else None
            await keeper.begin()
            venue.answer, known = None, len(venue.asked)
            clock.set(VENUE_LESS_MONO_NS - NS_PER_S)
            keeping = asyncio.ensure_future(keeper.keep(0.01))
            while len(venue.asked) < known + REQUESTS:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.01)
            keeping.cancel()

    asyncio.run(asyncio.wait_for(run(), 10.0))
    machine.pass_by(NS_PER_S // 10)

    assert clock.now_ns() - machine.at_ns - VENUE_LESS_MONO_NS == rate // 10 - NS_PER_S
