"""Recorded markets: refused with a sentence that names the file, or played in order of arrival."""

import hashlib
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.adapters.replay import RecordedMarket, lots_per_unit
from engine.clock import NS_PER_S
from engine.errors import FeedError
from engine.strategy.events import TICK_NS
from engine.strategy.layout import EVENT, QUOTE, TRADE
from tests.making import MS, T0, S

SET_A = Path(__file__).parents[4] / "shared" / "market" / "sets" / "A_binance_20240808_6inst"

needs_set_a = pytest.mark.skipif(not SET_A.is_dir(), reason=f"the recording {SET_A.name} is not on this machine")


def trades(seconds: int = 3, **changes: Any) -> dict[str, list[Any]]:
    ts = [T0 + n * S // 4 for n in range(seconds * 4)]
    size = len(ts)
    columns: dict[str, list[Any]] = {
        "exchange": ["x_spot"] * size, "symbol": ["ETHUSDT"] * size, "ts_ns": ts, "recv_ns": list(ts),
        "trade_id": [str(n) for n in range(size)], "price": [100.0] * size, "qty": [1.0] * size,
        "aggressor": ["buy", "sell"] * (size // 2),
    }  # fmt: skip
    return {**columns, **{name: [value] * size for name, value in changes.items()}}


def books(seconds: int = 3, **changes: Any) -> dict[str, list[Any]]:
    ts = [T0 + n * S // 8 for n in range(seconds * 8)]
    size = len(ts)
    columns: dict[str, list[Any]] = {
        "exchange": ["x_spot"] * size, "symbol": ["ETHUSDT"] * size, "ts_ns": ts, "recv_ns": list(ts),
        "bid_px": [99.0] * size, "bid_qty": [1.0] * size, "ask_px": [101.0] * size, "ask_qty": [1.0] * size,
    }  # fmt: skip
    return {**columns, **{name: [value] * size for name, value in changes.items()}}


def recording(
    folder: Path, trade_columns: dict[str, list[Any]] | None = None, book_columns: dict[str, list[Any]] | None = None
) -> Path:
    pq.write_table(pa.table(trade_columns or trades()), folder / "trades.parquet")
    pq.write_table(pa.table(book_columns or books()), folder / "l1.parquet")
    return folder


def played(market: RecordedMarket, symbol: str, step_ns: int = TICK_NS) -> np.ndarray[Any, Any]:
    """All events of one symbol."""
    pieces = [piece.batches[symbol].events for piece in market.slices(step_ns) if symbol in piece.batches]
    return np.concatenate(pieces)


def test_a_small_recording_is_played_on_ticks(tmp_path: Path) -> None:
    market = RecordedMarket(recording(tmp_path))

    slices = list(market.slices())

    assert [item.symbol for item in market.instruments()] == ["ETHUSDT.x_spot"]
    assert [piece.clock_ns for piece in slices] == list(range(market.start_ns, market.end_ns + 1, TICK_NS))
    assert all(piece.from_ns == piece.clock_ns - TICK_NS for piece in slices)
    assert not market.simulated
    assert market.common_span_ns() == (T0, T0 + 2875 * MS)


STEPS = [
    pytest.param(3 * TICK_NS, id="three ticks"),
    pytest.param(250 * MS, id="a quarter of a second"),
    pytest.param(S, id="a second"),
    pytest.param(3600 * S, id="longer than the recording"),
]


@pytest.mark.parametrize("step_ns", STEPS)
def test_the_step_of_slices_changes_no_event(tmp_path: Path, step_ns: int) -> None:
    market = RecordedMarket(recording(tmp_path))

    slices = list(market.slices(step_ns))

    assert played(market, "ETHUSDT.x_spot", step_ns).tobytes() == played(market, "ETHUSDT.x_spot").tobytes()
    assert [piece.from_ns for piece in slices[1:]] == [piece.clock_ns for piece in slices[:-1]]
    assert (slices[0].from_ns, slices[-1].clock_ns) == (market.start_ns - TICK_NS, market.end_ns)
    assert all(piece.clock_ns % step_ns == 0 for piece in slices[1:-1])


def test_a_step_starts_after_the_first_tick_whatever_the_recording_starts_on(tmp_path: Path) -> None:
    columns = trades()
    for name in ("ts_ns", "recv_ns"):
        columns[name] = [ns + 30 * MS for ns in columns[name]]
    shifted = books()
    for name in ("ts_ns", "recv_ns"):
        shifted[name] = [ns + 130 * MS for ns in shifted[name]]
    market = RecordedMarket(recording(tmp_path, columns, shifted))

    clocks = [piece.clock_ns - T0 for piece in market.slices(S)]

    assert clocks == [50 * MS, S, 2 * S, 3 * S, 3 * S + 50 * MS]


@pytest.mark.parametrize("step_ns", [TICK_NS, *STEPS])
def test_events_lie_in_their_slice(tmp_path: Path, step_ns: int) -> None:
    for piece in RecordedMarket(recording(tmp_path)).slices(step_ns):
        for batch in piece.batches.values():
            arrivals = batch.events["arrival_ns"]
            assert batch.events.dtype == EVENT
            assert arrivals.tolist() == sorted(arrivals.tolist())
            assert piece.from_ns < arrivals[0] or piece.clock_ns == T0 + TICK_NS
            assert arrivals[-1] <= piece.clock_ns


def test_events_come_in_order_of_arrival_and_never_before_they_arrived(tmp_path: Path) -> None:
    late = trades()
    late["recv_ns"][3] += 2 * S
    market = RecordedMarket(recording(tmp_path, late))

    when = {
        int(event["id"]): piece.clock_ns
        for piece in market.slices()
        for batch in piece.batches.values()
        for event in batch.events[batch.events["kind"] == TRADE]
    }

    assert when[3] >= late["ts_ns"][3] + 2 * S
    assert when[2] < when[3]


def test_the_matching_time_of_the_venue_is_preferred_to_the_event_time(tmp_path: Path) -> None:
    columns = trades()
    columns["trade_ts_ns"] = [ts - 5 * MS for ts in columns["ts_ns"]]
    market = RecordedMarket(recording(tmp_path, columns))

    events = played(market, "ETHUSDT.x_spot")

    times = events["ts_ns"][events["kind"] == TRADE]
    assert len(times) > 0
    assert set(times.tolist()) <= set(columns["trade_ts_ns"])


@pytest.mark.parametrize(
    ("update_ids", "ids"),
    [
        pytest.param({}, {-1}, id="without a column"),
        pytest.param({"update_id": [100 + 3 * n for n in range(24)]}, {100 + 3 * n for n in range(23)}, id="known"),
        pytest.param({"update_id": [None] * 23 + [7]}, {-1}, id="a row without"),
    ],
)
def test_quotes_carry_the_update_id_of_the_venue_or_none(
    tmp_path: Path, update_ids: dict[str, Any], ids: set[int]
) -> None:
    events = played(RecordedMarket(recording(tmp_path, None, books() | update_ids)), "ETHUSDT.x_spot")

    assert set(events["id"][events["kind"] == QUOTE].tolist()) >= ids
    assert set(events["id"][events["kind"] == TRADE].tolist()) <= set(range(12))


def test_an_event_has_the_columns_of_its_row(tmp_path: Path) -> None:
    events = played(RecordedMarket(recording(tmp_path)), "ETHUSDT.x_spot")

    trade, quote = (events[events["kind"] == kind][0].tolist() for kind in (TRADE, QUOTE))
    assert trade == (TRADE, T0, T0, 0, 100.0, 1.0, 1.0, 0.0)
    assert quote == (QUOTE, T0, T0, -1, 99.0, 1.0, 101.0, 1.0)


@pytest.mark.parametrize(("ticker", "usd"), [("BTCUSD_PERP", 100.0), ("ETHUSD_PERP", 10.0)])
def test_inverse_contracts_have_their_face_value(tmp_path: Path, ticker: str, usd: float) -> None:
    names: dict[str, Any] = {"exchange": "binance_coinm", "symbol": ticker}
    market = RecordedMarket(recording(tmp_path, trades(**names), books(**names)))

    assert [item.contract_usd for item in market.instruments()] == [usd]


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match=rf"{re.escape(str(tmp_path / 'none'))}: there is no such folder"):
        RecordedMarket(tmp_path / "none")


@pytest.mark.parametrize("name", ["trades.parquet", "l1.parquet"])
def test_a_file_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    (recording(tmp_path) / name).unlink()

    with pytest.raises(FeedError, match=rf"{name}: there is no such file"):
        RecordedMarket(tmp_path)


@pytest.mark.parametrize("name", ["trades.parquet", "l1.parquet"])
@pytest.mark.parametrize("length", [0, 10, 500])
def test_a_truncated_file_is_named(tmp_path: Path, name: str, length: int) -> None:
    path = recording(tmp_path) / name
    path.write_bytes(path.read_bytes()[:length])

    with pytest.raises(FeedError, match=rf"{name}: not a readable Parquet file"):
        RecordedMarket(tmp_path)


def without(columns: dict[str, list[Any]], name: str) -> dict[str, list[Any]]:
    return {key: values for key, values in columns.items() if key != name}


def without_rows(columns: dict[str, list[Any]]) -> dict[str, Any]:
    return {key: pa.array(values).slice(0, 0) for key, values in columns.items()}


def one_null(columns: dict[str, list[Any]], name: str) -> dict[str, list[Any]]:
    return {**columns, name: [None, *columns[name][1:]]}


@pytest.mark.parametrize(
    ("trade_columns", "book_columns", "says"),
    [
        pytest.param(without(trades(), "price"), None, "trades.parquet: column price is missing", id="no price"),
        pytest.param(None, without(books(), "ask_qty"), "l1.parquet: column ask_qty is missing", id="no ask_qty"),
        pytest.param(without_rows(trades()), None, "trades.parquet: no rows", id="no trades"),
        pytest.param(None, without_rows(books()), "l1.parquet: no rows", id="no quotes"),
        pytest.param(one_null(trades(), "ts_ns"), None, "trades.parquet: .*ts_ns", id="a trade without a time"),
        pytest.param(None, one_null(books(), "ts_ns"), "l1.parquet: .*ts_ns", id="a quote without a time"),
        pytest.param(trades(price="dear"), None, "trades.parquet: .*price", id="a price in words"),
        pytest.param(None, books(bid_px="cheap"), "l1.parquet: .*bid_px", id="a bid in words"),
        pytest.param(trades(ts_ns="noon"), None, "trades.parquet: .*ts_ns", id="a time in words"),
        pytest.param(trades(symbol="DOGE"), None, "no instrument has both", id="trades and quotes of others"),
        pytest.param(
            trades(symbol="eth/usd"), books(symbol="eth/usd"), "'eth/usd.x_spot' is not a symbol", id="an odd symbol"
        ),
    ],
)
def test_a_recording_that_cannot_be_used_says_why(
    tmp_path: Path, trade_columns: dict[str, list[Any]] | None, book_columns: dict[str, list[Any]] | None, says: str
) -> None:
    with pytest.raises(FeedError, match=says):
        RecordedMarket(recording(tmp_path, trade_columns, book_columns))


@pytest.mark.parametrize("side", ["unknown", None, "BUY"])
def test_a_trade_whose_side_is_not_known_is_not_taken_for_a_sale(tmp_path: Path, side: str | None) -> None:
    columns = trades()
    columns["aggressor"] = [side, *columns["aggressor"][1:]]
    try:
        market = RecordedMarket(recording(tmp_path, columns))
    except FeedError:
        return

    events = played(market, "ETHUSDT.x_spot")

    assert events["c"][(events["kind"] == TRADE) & (events["id"] == 0)].tolist() == [0.0]


@pytest.fixture(scope="module")
def set_a() -> RecordedMarket:
    return RecordedMarket(SET_A)


@needs_set_a
def test_set_a_has_six_instruments(set_a: RecordedMarket) -> None:
    assert len(set_a.instruments()) == 6
    assert "ETHUSDT.binance_usdm" in [item.symbol for item in set_a.instruments()]


@needs_set_a
def test_slices_of_set_a_lie_on_ticks_and_hold_every_trade(set_a: RecordedMarket) -> None:
    clocks = [piece.clock_ns for piece in set_a.slices()]
    events = played(set_a, "ETHUSDT.binance_usdm")
    made = events[events["kind"] == TRADE]

    table = pq.read_table(SET_A / "trades.parquet").to_pandas()
    mine = table[(table["exchange"] == "binance_usdm") & (table["symbol"] == "ETHUSDT")]
    sign = mine["aggressor"].map({"buy": 1.0, "sell": -1.0})
    expected = math.fsum(mine["price"] * mine["qty"] * sign)
    assert clocks == list(range(set_a.start_ns, set_a.end_ns + 1, TICK_NS))
    assert clocks[0] % TICK_NS == 0
    assert set(events["kind"].tolist()) == {TRADE, QUOTE}
    assert math.fsum(made["a"] * made["b"] * made["c"]) == pytest.approx(expected, rel=1e-9)
    assert len(made) == len(mine)


@needs_set_a
def test_the_step_of_slices_changes_no_event_of_set_a(set_a: RecordedMarket) -> None:
    digests = []
    for step_ns in (TICK_NS, 7 * S):
        digest = {item.symbol: hashlib.sha256() for item in set_a.instruments()}
        for piece in set_a.slices(step_ns):
            for symbol, batch in piece.batches.items():
                digest[symbol].update(batch.events.data)
        digests.append({symbol: found.hexdigest() for symbol, found in digest.items()})

    assert digests[0] == digests[1]
    assert len(set(digests[0].values())) == 6


@needs_set_a
def test_every_instrument_of_set_a_is_heard_for_minutes(set_a: RecordedMarket) -> None:
    first, last = set_a.common_span_ns()

    assert last - first > 60 * NS_PER_S


@pytest.mark.parametrize(
    ("quantities", "lots"),
    [
        pytest.param([3.0, 125_000_000_000.0], 1.0, id="whole coins"),
        pytest.param([0.001, 12.5], 1e3, id="three decimals"),
        pytest.param([0.00001, 0.12345], 1e5, id="five decimals"),
        pytest.param([0.00000001, 3.0], 1e8, id="the finest there is"),
        pytest.param([math.pi], 1e8, id="not a whole number of anything"),
        pytest.param([math.nan, 0.5], 10.0, id="what is no number is left out"),
        pytest.param([], 1.0, id="no trades"),
    ],
)
def test_volume_is_summed_in_the_coarsest_lots_that_are_exact(quantities: list[float], lots: float) -> None:
    assert lots_per_unit(np.array(quantities)) == lots
