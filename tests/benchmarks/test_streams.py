"""The streams that speeds are measured on: repeatable, market-like, and the same for every engine."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers.feed import BUY, DEPTH, EXECUTION, INSTRUMENT, SELL, hftbacktest_rows, load, save
from benchmarks.peers.run import PeerFailedError, PeerProcess, difference
from benchmarks.streams import (
    LISTINGS,
    START_NS,
    joined,
    order_flow,
    synthetic_instruments,
    synthetic_slices,
    true_sums,
)
from engine.clock import NS_PER_S
from engine.strategy.events import Events
from engine.strategy.layout import EVENT, QUOTE, TRADE


@pytest.fixture(scope="module")
def stream() -> dict[str, Events]:
    return joined(synthetic_slices(60, seed=7, slice_s=20))


def quotes(*rows: tuple[float, float, float, float]) -> Events:
    """Quotes of (bid, bid_qty, ask, ask_qty), a nanosecond apart."""
    events = np.zeros(len(rows), EVENT)
    events["kind"] = QUOTE
    events["ts_ns"] = events["arrival_ns"] = np.arange(len(rows))
    for name, column in zip("abcd", np.array(rows, float).T, strict=True):
        events[name] = column
    return events


def test_the_stream_has_eight_symbols_and_1200_events_a_second(stream: dict[str, Events]) -> None:
    assert list(stream) == [item.symbol for item in synthetic_instruments()]
    assert sum(map(len, stream.values())) == 1_200 * 60


def test_two_thirds_are_quotes_of_which_some_move_the_price(stream: dict[str, Events]) -> None:
    everything = np.concatenate(list(stream.values()))
    moved = [np.mean((np.diff(q["a"]) != 0) | (np.diff(q["c"]) != 0)) for q in map(quotes_of, stream.values())]

    assert np.mean(everything["kind"] == QUOTE) == pytest.approx(2 / 3, abs=0.01)
    assert min(moved) >= 0.03
    assert max(moved) <= 0.10


def test_times_of_a_symbol_rise_strictly_and_lie_in_their_slice() -> None:
    at_ns = START_NS
    for piece in synthetic_slices(50, seed=7, slice_s=20):
        assert piece.from_ns == at_ns
        for batch in piece.batches.values():
            times = np.concatenate([[at_ns], batch.events["arrival_ns"], [piece.clock_ns + 1]])
            assert np.all(np.diff(times) > 0)
            assert np.array_equal(batch.events["arrival_ns"], batch.events["ts_ns"])
        at_ns = piece.clock_ns
    assert at_ns == START_NS + 50 * NS_PER_S


def test_books_never_cross_and_trades_happen_at_the_standing_quote(stream: dict[str, Events]) -> None:
    for events in stream.values():
        standing = None
        for event in events:
            if event["kind"] == QUOTE:
                assert event["a"] < event["c"]
                assert min(event["b"], event["d"]) > 0
                standing = event
            elif standing is not None:
                assert event["a"] == standing["c" if event["c"] > 0 else "a"]
                assert event["b"] > 0


def test_ids_of_trades_and_quotes_rise_by_one_across_slices(stream: dict[str, Events]) -> None:
    for events in stream.values():
        for kind in (TRADE, QUOTE):
            assert np.all(np.diff(events["id"][events["kind"] == kind]) == 1)


def test_the_same_seed_gives_the_same_stream_and_a_longer_one_begins_with_it(stream: dict[str, Events]) -> None:
    longer = joined(synthetic_slices(80, seed=7, slice_s=20))
    other = joined(synthetic_slices(60, seed=8, slice_s=20))

    for symbol, events in stream.items():
        assert np.array_equal(longer[symbol][: len(events)], events)
        assert not np.array_equal(other[symbol], events)


@pytest.mark.parametrize(
    ("new", "flow"),
    [
        pytest.param((100, 8, 101, 7), 3.0, id="the bid grows"),
        pytest.param((101, 2, 102, 4), 9.0, id="both prices rise"),
        pytest.param((99, 9, 100, 6), -11.0, id="both prices fall"),
    ],
)
def test_order_flow_is_that_of_the_paper(new: tuple[float, float, float, float], flow: float) -> None:
    assert order_flow(quotes((100, 5, 101, 7), new)).tolist() == [flow]


@pytest.mark.parametrize(
    ("new", "rows"),
    [
        pytest.param((100, 8, 101, 7), [(DEPTH | BUY, 100, 8)], id="a size: one row"),
        pytest.param((100, 5, 101, 7), [], id="nothing: no row"),
        pytest.param((99, 9, 101, 7), [(DEPTH | BUY, 99, 9), (DEPTH | BUY, 100, 0)], id="a price: the old one empties"),
        pytest.param(
            (101, 2, 102, 4),
            [(DEPTH | SELL, 102, 4), (DEPTH | SELL, 101, 0), (DEPTH | BUY, 101, 2), (DEPTH | BUY, 100, 0)],
            id="both rise: the ask goes first",
        ),
        pytest.param(
            (99, 9, 100, 6),
            [(DEPTH | BUY, 99, 9), (DEPTH | BUY, 100, 0), (DEPTH | SELL, 100, 6), (DEPTH | SELL, 101, 0)],
            id="both fall: the bid goes first",
        ),
    ],
)
def test_a_quote_becomes_the_depth_rows_that_change_the_book(
    new: tuple[float, float, float, float], rows: list[tuple[int, float, float]]
) -> None:
    made = hftbacktest_rows(quotes((100, 5, 101, 7), new))[2:]

    assert [(int(row["ev"]) & ~(3 << 30), row["px"], row["qty"]) for row in made] == rows
    assert set(made["local_ts"].tolist()) <= {1}


def test_converted_rows_hold_every_trade_and_rebuild_every_quote(stream: dict[str, Events]) -> None:
    events = next(iter(stream.values()))
    rows = hftbacktest_rows(events)

    trades = rows[(rows["ev"] & EXECUTION) > 0]
    signs = np.where(trades["ev"] & BUY, 1.0, -1.0)
    assert float(np.sum(signs * trades["qty"])) == pytest.approx(true_sums(events).cvd)
    assert np.all(np.diff(rows["exch_ts"]) >= 0)
    assert tops_after(rows) == {int(q["ts_ns"]): (q["a"], q["b"], q["c"], q["d"]) for q in distinct(quotes_of(events))}


def test_a_stream_comes_back_from_its_file(stream: dict[str, Events], tmp_path: Path) -> None:
    listed = np.array([(item.symbol, item.price_digits, item.qty_digits) for item in LISTINGS], INSTRUMENT)

    save(tmp_path / "stream.npz", listed, stream)

    for item, events in load(tmp_path / "stream.npz"):
        assert np.array_equal(events, stream[str(item["symbol"])])


def test_a_peer_that_computes_something_else_is_found_out(stream: dict[str, Events]) -> None:
    truth = {symbol: true_sums(events) for symbol, events in stream.items()}
    answer = {name: {symbol: getattr(sums, name) for symbol, sums in truth.items()} for name in ("cvd", "flow")}
    symbol, sums = next(iter(truth.items()))

    assert difference(answer, truth) is None
    for wrong in (sums.flow + 0.001, float("nan")):
        said = difference(answer | {"flow": answer["flow"] | {symbol: wrong}}, truth)
        assert said is not None
        assert said.startswith(f"flow of {symbol}")
    assert difference(answer, truth | {"NEWUSDT.synthetic": replace(sums)}) is not None


def test_a_peer_that_is_not_installed_says_so(tmp_path: Path) -> None:
    with (
        PeerProcess("nautilus", Path(sys.executable), tmp_path / "stream.npz") as peer,
        pytest.raises(PeerFailedError, match=r"nautilus ended with 1: ModuleNotFoundError.*nautilus_trader"),
    ):
        peer.wait_ready()


def quotes_of(events: Events) -> Events:
    quotes: Events = events[events["kind"] == QUOTE]
    return quotes


def distinct(events: Events) -> Events:
    """Quotes without those that repeat the one before."""
    same = np.all([np.diff(events[name]) == 0 for name in "abcd"], axis=0)
    changed: Events = events[np.concatenate([[True], ~same])]
    return changed


def tops_after(rows: Events) -> dict[int, tuple[float, float, float, float]]:
    """Best quote after each time at which the depth rows change the book."""
    tops: dict[int, tuple[float, float, float, float]] = {}
    bids: dict[float, float] = {}
    asks: dict[float, float] = {}
    for row in rows[(rows["ev"] & DEPTH) > 0]:
        side = bids if row["ev"] & BUY else asks
        side.pop(row["px"], None)
        if row["qty"] > 0:
            side[row["px"]] = row["qty"]
        if bids and asks:
            bid, ask = max(bids), min(asks)
            tops[int(row["local_ts"])] = (bid, bids[bid], ask, asks[ask])
    return tops
