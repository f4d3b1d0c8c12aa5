"""Messages of the venue: read as json reads them, or refused with the right reason."""

import json
from collections import Counter
from typing import Any

import pytest

from benchmarks.wire_tape import Tape, make_tape, read_tape
from engine.adapters.live.batches import EventRows
from engine.adapters.live.inbox import Counts, Inbox
from engine.adapters.live.levels import LevelReader
from engine.adapters.live.routes import AggTradeRoute, DepthRoute, QuoteRoute, Route, TradeRoute
from engine.adapters.live.spec import Listed
from engine.strategy.layout import DEPTH, QUOTE, TRADE
from engine.strategy.sync import SyncState
from tests.engine.adapters.live.hearing import RAW_A, RAW_B, Heard, needs_raw, plain_book, plain_rows, same_rows

ARRIVAL_NS = 1_735_689_600_123_456_789

TRADE_DATA = {
    "e": "trade", "E": 1723161256322, "T": 1723161256321, "s": "BTCUSDT", "t": 7, "p": "61800.30", "q": "0.006",
    "X": "MARKET", "m": False,
}  # fmt: skip
AGG_DATA = {
    "e": "aggTrade", "E": 1723161256322, "a": 9, "s": "BTCUSDT", "p": "61800.30", "q": "0.5", "f": 7, "l": 8,
    "T": 1723161256321, "m": True,
}  # fmt: skip
QUOTE_DATA = {"u": 11, "s": "BTCUSDT", "b": "61800.20", "B": "2.507", "a": "61800.30", "A": "2.510"}
DEPTH_DATA = {
    "e": "depthUpdate", "E": 1723161256322, "T": 1723161256321, "s": "BTCUSDT", "U": 5, "u": 9, "pu": 4,
    "b": [["61800.20", "2.5"]], "a": [["61800.30", "0"]],
}  # fmt: skip
DATA = {"trade": TRADE_DATA, "aggTrade": AGG_DATA, "bookTicker": QUOTE_DATA, "depth@0ms": DEPTH_DATA}


class Desk:
    """The routes of some instruments, and what came out of them."""

    def __init__(self, *instruments: tuple[str, str]) -> None:
        self.counts = Counts()
        self.asked: Counter[str] = Counter()
        self._touched: list[EventRows] = []
        self.heard = Heard()
        self.depths: dict[tuple[str, str], DepthRoute] = {}
        self.inboxes = {market: self._inbox(market, instruments) for market, _ in instruments}

    def _inbox(self, market: str, instruments: tuple[tuple[str, str], ...]) -> Inbox:
        reader, routes = LevelReader(), dict[str, Route]()
        for one in (Listed(*instrument) for instrument in instruments if instrument[0] == market):
            rows = EventRows(one.symbol, self._touched)
            depth = DepthRoute(one, rows, reader, lambda route: self.asked.update([route.listed.symbol]))
            self.depths[one.market, one.ticker] = depth
            routes |= {
                one.stream("trade"): TradeRoute(one, rows, self.counts.skipped),
                one.stream("aggTrade"): AggTradeRoute(one, rows),
                one.stream("bookTicker"): QuoteRoute(one, rows),
                one.stream("depth@0ms"): depth,
                one.stream("depth@100ms"): depth,
            }
        return Inbox(routes, self.counts)

    def receive(self, market: str, text: bytes) -> None:
        self.inboxes[market].receive(text, ARRIVAL_NS)
        self.heard.take({rows.symbol: rows.take() for rows in self._touched})
        self._touched.clear()

    def kinds(self) -> list[int]:
        return [int(kind) for parts in self.heard.events.values() for events in parts for kind in events["kind"]]


def wrapped(stream: str, data: Any) -> bytes:
    return json.dumps({"stream": stream, "data": data}, separators=(",", ":")).encode()


def desk_for(tape: Tape) -> Desk:
    return Desk(*sorted({message.instrument for message in tape.messages}))


def play(tape: Tape) -> Desk:
    """Receive a whole tape; the snapshot of each book comes after its first ten changes."""
    desk, seen = desk_for(tape), Counter[tuple[str, str]]()
    for message in tape.messages:
        desk.receive(message.instrument[0], message.text)
        seen[message.instrument] += "@depth" in message.stream
        if "@depth" in message.stream and seen[message.instrument] == 10:
            desk.depths[message.instrument].accept_snapshot(tape.snapshots[message.instrument], ARRIVAL_NS)
    return desk


def check_against_plain_reading(tape: Tape) -> None:
    desk = play(tape)
    plain = plain_rows(tape.messages)
    assert not desk.counts.refused
    assert all(same_rows(desk.heard.rows(symbol), rows) for symbol, rows in plain.items())
    for instrument, route in desk.depths.items():
        assert route.sync.state is SyncState.LIVE
        assert desk.heard.books[route.listed.symbol] == plain_book(tape, instrument)


@pytest.mark.parametrize("market", ["spot", "usdm", "cm"])
def test_made_up_messages_are_read_as_json_reads_them(market: str) -> None:
    ticker = "BTCUSD_PERP" if market == "cm" else "BTCUSDT"

    check_against_plain_reading(make_tape(2_000, seed=3, instruments=((market, ticker),)))


@pytest.mark.slow
@needs_raw
@pytest.mark.parametrize("folder", [RAW_A, RAW_B], ids=lambda folder: folder.name[:1])
def test_every_recorded_message_is_read_as_json_reads_it(folder: Any) -> None:
    check_against_plain_reading(read_tape(folder, limit=60_000))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("trade", (TRADE, 7, 61800.30, 0.006, 1.0, 0.0, 1723161256321_000_000)),
        ("aggTrade", (TRADE, 9, 61800.30, 0.5, -1.0, 0.0, 1723161256321_000_000)),
        ("bookTicker", (QUOTE, 11, 61800.20, 2.507, 61800.30, 2.510, ARRIVAL_NS)),
    ],
)
def test_a_message_becomes_the_event_of_the_layout(name: str, expected: tuple[Any, ...]) -> None:
    desk = Desk(("usdm", "BTCUSDT"))

    desk.receive("usdm", wrapped(f"btcusdt@{name}", DATA[name]))

    assert desk.heard.rows("BTCUSDT.binance_usdm") == [expected]


def test_keys_may_come_in_another_order_and_with_spaces() -> None:
    desk = Desk(("usdm", "BTCUSDT"))

    desk.receive("usdm", json.dumps({"data": TRADE_DATA, "stream": "btcusdt@trade"}, indent=1).encode())

    assert desk.kinds() == [TRADE]


def test_fills_outside_the_market_are_counted_and_left_out() -> None:
    desk = Desk(("usdm", "BTCUSDT"))

    for x in ("MARKET", "INSURANCE_FUND", "NA"):
        desk.receive("usdm", wrapped("btcusdt@trade", {**TRADE_DATA, "X": x}))

    assert desk.kinds() == [TRADE]
    assert desk.counts.skipped == {"not_market": 2}
    assert not desk.counts.refused


NOT_A_NUMBER = ["-1", "0", "nan", "NaN", "-inf", "Infinity", "inf", "1e400"]
NOT_A_FLOAT = ["abc", "", " 5", "1_0", None, [], {}, True, ["1"]]
NOT_AN_ID = [-1, 2**63, 10**40]
NOT_A_TIME = [0, -1, 10**13, 10**30]
NOT_AN_INT = [1.5, "x", None, [], {}, True]

BAD_FIELDS = [
    *[("trade", field, value, "number") for field in ("p", "q") for value in NOT_A_NUMBER],
    *[("trade", field, value, "shape") for field in ("p", "q") for value in NOT_A_FLOAT],
    *[("bookTicker", field, value, "number") for field in "bBaA" for value in NOT_A_NUMBER],
    *[("bookTicker", field, value, "shape") for field in "bBaA" for value in NOT_A_FLOAT],
    *[("trade", "t", value, "number") for value in NOT_AN_ID],
    *[("aggTrade", "a", value, "number") for value in NOT_AN_ID],
    *[("depth@0ms", field, value, "number") for field in ("U", "u", "pu") for value in NOT_AN_ID],
    *[(name, "T", value, "number") for name in ("trade", "aggTrade", "depth@0ms") for value in NOT_A_TIME],
    *[("trade", field, value, "shape") for field in ("t", "T") for value in NOT_AN_INT],
    *[("trade", "m", value, "shape") for value in (None, 2, "maybe", [])],
    *[(name, "s", "../../etc/passwd", "unknown_symbol") for name in DATA],
    *[(name, "s", value, "shape") for name in DATA for value in (None, 5, [])],
    *[(name, "e", value, "shape") for name in DATA for value in ("kline", 5)],
    *[("depth@0ms", "b", [["1", value]], "number") for value in ("-1", "nan", "inf")],
    *[("depth@0ms", "a", [[value, "1"]], "number") for value in ("-1", "0", "0.00", "nan", "inf")],
    *[("depth@0ms", "b", value, "shape") for value in (None, "x", {}, [["1"]], [["1", "2", "3"]], [["1", "x"]], [[]])],
]


@pytest.mark.parametrize(("name", "field", "value", "reason"), BAD_FIELDS)
def test_a_bad_field_refuses_the_message(name: str, field: str, value: Any, reason: str) -> None:
    desk = Desk(("usdm", "BTCUSDT"))

    desk.receive("usdm", wrapped(f"btcusdt@{name}", {**DATA[name], field: value}))

    assert desk.counts.refused == {reason: 1}
    assert desk.kinds() == []


@pytest.mark.parametrize("name", DATA)
def test_a_missing_field_refuses_the_message(name: str) -> None:
    for field in set(DATA[name]) - {"X", "E", "T", "pu", "e", "f", "l"}:
        desk = Desk(("usdm", "BTCUSDT"))

        desk.receive("usdm", wrapped(f"btcusdt@{name}", {k: v for k, v in DATA[name].items() if k != field}))

        assert desk.counts.refused == {"shape": 1}, field


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "malformed"),
        (b"{", "malformed"),
        (b"\xff\xfe\x00", "malformed"),
        (b"not json", "malformed"),
        (b"[]", "shape"),
        (b"null", "shape"),
        (b'{"result":null,"id":1}', "shape"),
        (b'{"stream":5,"data":{}}', "shape"),
        (wrapped("btcusdt@trade", TRADE_DATA)[:-1], "malformed"),
        (wrapped("btcusdt@trade", TRADE_DATA) + b"x", "malformed"),
        (wrapped("btcusdt@trade", TRADE_DATA).replace(b"BTCUSDT", b"BTC\xff"), "malformed"),
        (wrapped("btcusdt@trade", TRADE_DATA).replace(b'"0.006"', b"NaN"), "malformed"),
        (wrapped("btcusdt@kline_1m", TRADE_DATA), "unknown_stream"),
        (wrapped("dogeusdt@trade", TRADE_DATA), "unknown_stream"),
        (wrapped("../../etc/passwd@trade", TRADE_DATA), "unknown_stream"),
        (wrapped("btcusdt@trade", {**TRADE_DATA, "x": "x" * 1_000_000}), "too_large"),
        (b'{"stream":"btcusdt@trade","data":' + b'{"a":' * 100_000, "malformed"),
        (b"[" * 900_000, "shape"),
    ],
)
def test_what_is_not_a_message_is_counted_by_reason(text: bytes, reason: str) -> None:
    desk = Desk(("usdm", "BTCUSDT"))

    desk.receive("usdm", text)
    desk.receive("usdm", wrapped("btcusdt@trade", TRADE_DATA))

    assert desk.counts.refused == {reason: 1}
    assert desk.kinds() == [TRADE]


def test_a_bad_change_of_the_book_does_not_move_its_sequence() -> None:
    tape = make_tape(400, seed=1)
    desk = play(tape)
    last = next(message for message in reversed(tape.messages) if "@depth" in message.stream)
    data = json.loads(last.text)["data"]
    following = {**data, "pu": data["u"], "U": data["u"] + 1, "u": data["u"] + 2}

    desk.receive("usdm", wrapped(last.stream, {**following, "b": [["1.5", "-1"]]}))
    desk.receive("usdm", wrapped(last.stream, following))

    assert desk.counts.refused == {"number": 1}
    assert desk.kinds()[-1] == DEPTH
    assert desk.depths["usdm", "BTCUSDT"].sync.gaps == 0


def test_a_book_asks_for_a_snapshot_until_it_has_one() -> None:
    desk = play(make_tape(100, seed=1))  # 25 changes of the book, the snapshot after ten

    assert desk.asked["BTCUSDT.binance_usdm"] == 10
