"""Snapshots: one at a time per symbol, until one is usable."""

import asyncio
import random

import httpx
import pytest

from benchmarks.wire_tape import make_tape
from engine.adapters.live.batches import EventRows, Turn
from engine.adapters.live.inbox import Counts
from engine.adapters.live.levels import LevelReader
from engine.adapters.live.rest import Snapshots
from engine.adapters.live.routes import DepthRoute
from engine.adapters.live.spec import Listed, LiveSpec, MarketSpec
from engine.clock import SystemClock
from engine.strategy.layout import DEPTH

TAPE = make_tape(40, seed=1)
BODY = TAPE.snapshots["usdm", "BTCUSDT"]
DIFF = next(message.text for message in TAPE.messages if "@depth" in message.stream)
OLD_BODY = BODY.replace(b'"lastUpdateId":1000', b'"lastUpdateId":900')
SPEC = LiveSpec((MarketSpec("usdm", ("BTCUSDT",)),), backoff_first_s=0.001, backoff_cap_s=0.002)

Answer = httpx.Response | Exception


def fetch(answers: list[Answer], requests: int = 1) -> tuple[Counts, list[int], list[httpx.Request], float]:
    """Ask `requests` times at once for the snapshot that a change waits for.

    Returns counts, kinds of the events that came of it, what the venue was asked, and how long it took.
    """
    asked: list[httpx.Request] = []

    def venue(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        answer = answers[min(len(asked), len(answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def run() -> tuple[Counts, list[int], float]:
        loop, counts, kinds = asyncio.get_running_loop(), Counts(), list[int]()
        turn = Turn(SystemClock(), loop, lambda batches: kinds.extend(batches[symbol].events["kind"].tolist()))
        symbol = "BTCUSDT.binance_usdm"
        async with httpx.AsyncClient(transport=httpx.MockTransport(venue)) as client:
            snapshots = Snapshots(client, {"usdm": "http://x"}, turn, counts, SPEC, random.Random(1), None)

            def request(route: DepthRoute) -> None:
                for _ in range(requests):
                    snapshots.request(route)

            route = DepthRoute(Listed("usdm", "BTCUSDT"), EventRows(symbol, turn.touched), LevelReader(), request)
            begun = loop.time()
            route.accept(DIFF, turn.begin())
            while route.sync.needs_snapshot or not kinds:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            return counts, kinds, loop.time() - begun

    counts, kinds, seconds = asyncio.run(asyncio.wait_for(run(), 10.0))
    return counts, kinds, asked, seconds


def good() -> httpx.Response:
    return httpx.Response(200, content=BODY)


def test_the_venue_is_asked_for_the_book_as_it_wants_to_be() -> None:
    counts, kinds, asked, _ = fetch([good()])

    assert str(asked[0].url) == "http://x/fapi/v1/depth?symbol=BTCUSDT&limit=1000"
    assert kinds == [DEPTH, DEPTH]
    assert (counts.resyncs, counts.failed_snapshots) == (1, 0)


def test_a_symbol_has_no_more_than_one_request_under_way() -> None:
    _, _, asked, _ = fetch([good()], requests=10)

    assert len(asked) == 1


@pytest.mark.parametrize(
    "bad",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.Response(500),
        httpx.Response(404),
        httpx.Response(200, content=b"<html>"),
        httpx.Response(200, content=BODY.replace(b'"1.500"', b'"-1"', 1)),
        httpx.Response(200, content=BODY + b" " * 1_000_000),
        httpx.Response(200, content=OLD_BODY),
    ],
    ids=["refused", "slow", "500", "404", "html", "negative", "large", "old"],
)
def test_what_is_no_usable_snapshot_is_counted_and_asked_for_again(bad: Answer) -> None:
    counts, kinds, asked, _ = fetch([bad, bad, good()])

    assert len(asked) == 3
    assert (counts.resyncs, counts.failed_snapshots) == (1, 2)
    assert kinds == [DEPTH, DEPTH]


def test_a_venue_that_asks_for_patience_gets_it() -> None:
    _, _, asked, seconds = fetch([httpx.Response(429, headers={"Retry-After": "1"}), good()])

    assert len(asked) == 2
    assert seconds >= 1.0
