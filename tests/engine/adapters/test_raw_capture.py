"""Raw captures: the wire messages of combined streams, read back as a market."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.adapters.replay import RecordedMarket
from engine.errors import FeedError
from engine.strategy.layout import QUOTE, TRADE

T = 1_723_161_256_000


def trade(number: int, event_ms: int, price: str, qty: str, buyer_is_maker: bool) -> str:
    data = {"e": "trade", "E": event_ms + 1, "T": event_ms, "s": "BTCUSDT", "t": number, "p": price, "q": qty}
    return json.dumps({"stream": "btcusdt@trade", "data": {**data, "m": buyer_is_maker}})


SPOT = [
    '{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","s":"BTCUSDT","b":[],"a":[]}}',
    '{"stream":"btcusdt@bookTicker","data":{"u":41,"s":"BTCUSDT","b":"100.0","B":"2.0","a":"100.1","A":"3.0"}}',
    trade(7, T, "100.1", "0.5", buyer_is_maker=False),
    trade(8, T + 80, "100.0", "1", buyer_is_maker=True),
]


def capture(folder: Path, lines: list[str]) -> Path:
    path = folder / "spot__btcusdt_20240808.gz"
    stamped = "".join(f"{(T - 1300) * 10**6 + i * 10**7} {line}\n" for i, line in enumerate(lines))
    path.write_bytes(gzip.compress(stamped.encode()))
    return path


def played(market: RecordedMarket, symbol: str) -> np.ndarray[Any, Any]:
    """All events of one symbol."""
    slices = market.slices(60 * 10**9)
    return np.concatenate([piece.batches[symbol].events for piece in slices if symbol in piece.batches])


def test_trades_and_best_quotes_are_read_and_the_rest_is_left_alone(tmp_path: Path) -> None:
    capture(tmp_path, SPOT)

    market = RecordedMarket(tmp_path)
    events = played(market, "BTCUSDT.binance_spot")

    assert [item.symbol for item in market.instruments()] == ["BTCUSDT.binance_spot"]
    trades = events[events["kind"] == TRADE]
    assert trades[["a", "b", "c", "id"]].tolist() == [(100.1, 0.5, 1.0, 7), (100.0, 1.0, -1.0, 8)]
    assert trades["ts_ns"][0] == T * 10**6


def test_quotes_keep_the_update_id_of_the_wire(tmp_path: Path) -> None:
    capture(tmp_path, [*SPOT, trade(9, T + 400, "100.0", "1", buyer_is_maker=True)])

    events = played(RecordedMarket(tmp_path), "BTCUSDT.binance_spot")

    quotes = events[events["kind"] == QUOTE]
    assert quotes[["id", "a", "b", "c", "d"]].tolist() == [(41, 100.0, 2.0, 100.1, 3.0)]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(lambda raw: raw[:-12], "truncated", id="cut short"),
        pytest.param(
            lambda raw: gzip.compress(b'1 {"stream":"btcusdt@trade","data":{"s":\n'), "line 1", id="half a message"
        ),
    ],
)
def test_a_damaged_capture_is_refused_by_name(tmp_path: Path, spoil: object, said: str) -> None:
    path = capture(tmp_path, SPOT)
    path.write_bytes(spoil(path.read_bytes()))  # type: ignore[operator]

    with pytest.raises(FeedError, match=said) as refusal:
        RecordedMarket(tmp_path)

    assert path.name in str(refusal.value)


@pytest.mark.slow
def test_the_raw_captures_of_set_a_are_the_normalised_set(set_a: Path) -> None:
    raw, normalised = RecordedMarket(set_a.parents[1] / "raw" / set_a.name), RecordedMarket(set_a)

    assert raw.instruments() == normalised.instruments()
    assert (raw.start_ns, raw.end_ns) == (normalised.start_ns, normalised.end_ns)
    for instrument in raw.instruments():
        mine, theirs = (played(market, instrument.symbol) for market in (raw, normalised))
        assert mine[mine["kind"] == TRADE].tobytes() == theirs[theirs["kind"] == TRADE].tobytes()
        columns = ["kind", "id", "a", "b", "c", "d"]
        assert mine[columns].tolist() == theirs[columns].tolist()
        # The set's matching times went through float64, and its spot quotes have estimated times.
        for name in ("arrival_ns", "ts_ns"):
            assert np.abs(mine[name] - theirs[name]).max() < 10**6
