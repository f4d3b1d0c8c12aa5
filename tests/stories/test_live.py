"""A live feed against a venue on this machine: nothing lost, nothing guessed, whatever goes wrong."""

import asyncio
import json
import random
from collections import Counter

import pytest
import uvloop

from benchmarks.wire_server import serving
from benchmarks.wire_tape import Faults, Tape, WireSpec, make_tape, read_tape
from engine.adapters.live.feed import LiveFeed
from engine.clock import SystemClock
from engine.strategy.events import EventBatch
from engine.strategy.layout import QUOTE, TRADE
from tests.engine.adapters.live.hearing import (
    PATIENCE_S,
    RAW_A,
    Done,
    all_received,
    listen,
    live_spec,
    needs_raw,
    plain_book,
    plain_rows,
    same_rows,
)

pytestmark = pytest.mark.slow

BTC, ETH = ("usdm", "BTCUSDT"), ("usdm", "ETHUSDT")
SYMBOL = {BTC: "BTCUSDT.binance_usdm", ETH: "ETHUSDT.binance_usdm"}


@pytest.fixture(scope="module")
def tape() -> Tape:
    return make_tape(4_000, seed=7, instruments=(BTC, ETH))


def depth_places(tape: Tape, instrument: tuple[str, str]) -> list[int]:
    return [
        place
        for place, message in enumerate(tape.messages)
        if message.instrument == instrument and "@depth" in message.stream
    ]


def with_resyncs(count: int) -> Done:
    """Until everything came in and that many snapshots were accepted."""
    return lambda server, feed, heard: all_received(server, feed, heard) and feed.counts.resyncs >= count


def test_every_message_becomes_one_event_in_the_order_of_arrival(tape: Tape) -> None:
    heard, feed, _ = listen(tape, WireSpec(), with_resyncs(2))

    plain = plain_rows(tape.messages)
    assert set(plain) == set(SYMBOL.values())
    assert all(same_rows(heard.rows(symbol), rows) for symbol, rows in plain.items())
    assert {symbol: heard.books[symbol] for symbol in plain} == {SYMBOL[one]: plain_book(tape, one) for one in SYMBOL}
    assert not feed.counts.refused
    assert heard.gaps(SYMBOL[BTC]) == heard.gaps(SYMBOL[ETH]) == 0


@needs_raw
def test_recorded_messages_of_all_markets_arrive_whole() -> None:
    recorded = read_tape(RAW_A, limit=60_000)

    heard, feed, _ = listen(recorded, WireSpec(clients=3), with_resyncs(6))

    plain = plain_rows(recorded.messages)
    assert len(plain) == 6
    assert all(same_rows(heard.rows(symbol), rows) for symbol, rows in plain.items())
    assert not feed.counts.refused
    assert feed.counts.resyncs == 6


def test_a_dropped_connection_is_a_gap_for_each_symbol_and_books_come_back(tape: Tape) -> None:
    heard, feed, server = listen(
        tape, WireSpec(speed=5.0, faults=Faults(disconnect=(2_000,), lose=100)), with_resyncs(4)
    )

    assert server.connections == 2
    assert feed.counts.reconnects == 1
    assert [heard.gaps(symbol) for symbol in SYMBOL.values()] == [1, 1]
    assert [heard.snapshots[symbol] for symbol in SYMBOL.values()] == [2, 2]
    assert all(heard.books[SYMBOL[one]] == plain_book(tape, one) for one in SYMBOL)


def test_a_gap_in_one_symbol_resyncs_only_that_symbol(tape: Tape) -> None:
    lost = depth_places(tape, BTC)[300]

    heard, feed, server = listen(tape, WireSpec(speed=5.0, faults=Faults(drop=(lost,))), with_resyncs(3))

    assert [heard.gaps(SYMBOL[BTC]), heard.gaps(SYMBOL[ETH])] == [1, 0]
    assert Counter(server.snapshots_served) == {BTC: 2, ETH: 1}
    assert heard.books[SYMBOL[BTC]] == plain_book(tape, BTC)
    assert feed.counts.reconnects == 0


def test_a_repeated_change_of_the_book_is_applied_once(tape: Tape) -> None:
    heard, _, _ = listen(tape, WireSpec(faults=Faults(duplicate=tuple(depth_places(tape, BTC)))), with_resyncs(2))

    assert heard.books[SYMBOL[BTC]] == plain_book(tape, BTC)
    assert heard.gaps(SYMBOL[BTC]) == 0


def test_rotation_loses_nothing(tape: Tape) -> None:
    heard, feed, _ = listen(tape, WireSpec(speed=2.0), with_resyncs(2), rotate_s=0.6, overlap_s=0.2)

    assert feed.counts.rotations >= 2
    assert [heard.gaps(symbol) for symbol in SYMBOL.values()] == [0, 0]
    assert feed.counts.resyncs == 2
    for symbol, plain in plain_rows(tape.messages).items():
        rows = heard.rows(symbol)
        assert [row[:2] for row in first_times(rows, TRADE)] == [row[:2] for row in plain if row[0] == TRADE]
        assert [row[:2] for row in first_times(rows, QUOTE)] == [row[:2] for row in plain if row[0] == QUOTE]
    assert all(heard.books[SYMBOL[one]] == plain_book(tape, one) for one in SYMBOL)


def first_times(rows: list[tuple[object, ...]], kind: int) -> list[tuple[object, ...]]:
    """Rows of a kind whose id is higher than any before: what is left once duplicates are dropped by id."""
    kept: list[tuple[object, ...]] = []
    for row in rows:
        if row[0] == kind and (not kept or row[1] > kept[-1][1]):  # type: ignore[operator]
            kept.append(row)
    return kept


def test_coalescing_reads_less_often_and_loses_nothing(tape: Tape) -> None:
    eager, _, _ = listen(tape, WireSpec(speed=2.0))
    calm, feed, _ = listen(tape, WireSpec(speed=2.0), coalesce_ns=50_000_000)

    assert all(same_rows(calm.rows(symbol), rows) for symbol, rows in plain_rows(tape.messages).items())
    assert feed.counts.pauses > 20
    assert calm.batches < eager.batches / 4


def test_coalescing_can_begin_and_end_while_the_feed_runs(tape: Tape) -> None:
    def switching(server, feed, heard) -> bool:  # type: ignore[no-untyped-def]
        feed.coalesce_ns = 20_000_000 if server.place in range(1_000, 2_000) else 0
        return all_received(server, feed, heard)

    heard, feed, _ = listen(tape, WireSpec(speed=2.0), switching)

    assert all(same_rows(heard.rows(symbol), rows) for symbol, rows in plain_rows(tape.messages).items())
    assert 5 < feed.counts.pauses < 100


def test_silence_is_noticed_and_the_feed_connects_again(tape: Tape) -> None:
    heard, feed, server = listen(tape, WireSpec(faults=Faults(stall=1_000)), stall_s=0.3)

    assert feed.counts.stalls == 1
    assert server.connections == 2
    assert all(same_rows(heard.rows(symbol), rows) for symbol, rows in plain_rows(tape.messages).items())


@pytest.mark.parametrize(("kind", "connections"), [("bookTicker", 2), ("depth@100ms", 2), ("trade", 1)])
def test_a_stream_that_falls_silent_alone_is_noticed_and_quotes_and_books_are_connected_again(
    tape: Tape, kind: str, connections: int
) -> None:
    muted = Faults(mute={f"btcusdt@{kind}": 400})

    heard, feed, server = listen(
        tape, WireSpec(speed=0.9, faults=muted), lambda s, f, h: s.is_over and f.messages > 0, stall_s=0.25
    )

    events, _ = feed.tally()
    assert events["silent_streams"] == 1
    assert server.connections == connections
    assert events["stalls"] == events["reconnects"] == connections - 1
    assert heard.gaps(SYMBOL[BTC]) == heard.gaps(SYMBOL[ETH]) == connections - 1
    sent = [message for message in server.sent if message.instrument == BTC and message.stream.endswith(kind)]
    assert (sent[-1].at_ns > tape.messages[-100].at_ns) == (connections == 2)


def test_the_tally_says_what_depth_lost(tape: Tape) -> None:
    places = depth_places(tape, BTC)
    faults = Faults(duplicate=tuple(places[200:205]), drop=(places[300],))

    _, feed, _ = listen(tape, WireSpec(speed=5.0, faults=faults), with_resyncs(3))

    events, _ = feed.tally()
    assert (events["depth_gaps"], events["depth_duplicates"]) == (1, 5)


def test_the_tally_counts_changes_that_waited_for_a_snapshot_in_vain(tape: Tape) -> None:
    _, feed, _ = listen(
        Tape(tape.messages, {}), WireSpec(speed=5.0, faults=Faults(disconnect=(2_000,), lose=10))
    )  # fmt: skip

    waited = sum(place < 2_000 for one in SYMBOL for place in depth_places(tape, one))
    assert feed.tally()[0]["depth_dropped"] == waited


def test_requests_and_connections_are_not_logged_one_by_one(tape: Tape, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        listen(tape, WireSpec(), with_resyncs(2))

    assert not [record for record in caplog.records if record.name.startswith(("httpx", "picows"))]


def test_bad_messages_are_counted_and_the_good_ones_around_them_arrive(tape: Tape) -> None:
    first = json.loads(tape.messages[0].text)
    bad = {
        10: ['{"stream":"btcusdt@trade","data":{', "not json", "[]"],
        20: [json.dumps({**first, "stream": "../../etc/passwd@trade"})],
        30: [json.dumps({"stream": first["stream"], "data": {**first["data"], "b": "-1"}})],
        40: [json.dumps({"stream": first["stream"], "data": "x" * 1_000_001})],
        50: ["x" * 2_000_000],
    }

    heard, feed, _ = listen(
        tape, WireSpec(faults=Faults(inject=bad)), lambda s, f, h: s.is_over and f.messages >= len(s.sent) + 7
    )

    assert feed.counts.refused == {
        "malformed": 2, "shape": 1, "unknown_stream": 1, "number": 1, "too_large": 2
    }  # fmt: skip
    assert all(same_rows(heard.rows(symbol), rows) for symbol, rows in plain_rows(tape.messages).items())
    assert feed.counts.reconnects == 0


def test_a_venue_that_is_not_there_is_asked_again_with_growing_waits(tape: Tape) -> None:
    heard, feed, _ = asyncio.run(_late_venue(tape))

    assert 3 <= feed.counts.failed_connects <= 40
    assert heard > 0


async def _late_venue(tape: Tape) -> tuple[int, LiveFeed, int]:
    """Listen to a port where a venue opens half a second later."""
    async with serving(tape, WireSpec()) as server:
        port = server.port
    taken: list[str] = []
    stop = asyncio.Event()
    feed = LiveFeed(live_spec(tape, port), SystemClock(), random.Random(1))
    running = asyncio.ensure_future(feed.run(taken.extend, stop))
    await asyncio.sleep(0.5)
    async with serving(tape, WireSpec(), port) as server, asyncio.timeout(PATIENCE_S):
        while not (server.is_over and feed.messages == len(server.sent)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        stop.set()
        await running
    return len(taken), feed, port


def test_an_error_in_the_consumer_ends_the_feed_with_that_error(tape: Tape) -> None:
    class Broken(Exception):
        pass

    def fail(batches: dict[str, EventBatch]) -> None:
        raise Broken

    async def run() -> None:
        async with serving(tape, WireSpec()) as server, asyncio.timeout(PATIENCE_S):
            feed = LiveFeed(live_spec(tape, server.port), SystemClock(), random.Random(1))
            await feed.run(fail, asyncio.Event())

    with pytest.raises(Broken):
        uvloop.run(run())


def test_a_tape_without_a_snapshot_delivers_trades_and_quotes_and_keeps_asking(tape: Tape) -> None:
    heard, _, _ = listen(
        Tape(tape.messages, {}), WireSpec(), lambda s, f, h: all_received(s, f, h) and f.counts.failed_snapshots > 3
    )

    assert all(same_rows(heard.rows(symbol), rows) for symbol, rows in plain_rows(tape.messages).items())
    assert not heard.books
