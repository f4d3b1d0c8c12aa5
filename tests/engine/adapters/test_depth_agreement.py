"""Recorded sets, rebuilt: the books are those the venue had, and both ways of reading them are the same."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numba import njit

from engine.adapters.depth_recording import RecordedDepth, read_depth
from engine.strategy.kernels.book import APPLIED, FIRST, apply_depth
from engine.strategy.layout import BOOK_LEVELS, DEPTH, MARKET, MAX_LEVELS
from tests.making import MS

pytestmark = pytest.mark.slow

RECORDED = Path(__file__).parents[4] / "shared" / "market"
A, B, D = "A_binance_20240808_6inst", "B_binance_usdm_20240718_btc_eth", "D_cryptofeed_binance_2021_multi"

needs_recordings = pytest.mark.skipif(
    not all((RECORDED / "sets" / name).is_dir() for name in (A, B, D)), reason="the recordings are not on this machine"
)

LEAST_AGREEMENT = 0.9997
LEAST_AGREEMENT_BETWEEN = 0.9995
"""Where a quote was only in force: 2 of 6,494 spot books lack an order that was below the snapshot's 1000 levels."""

FLOAT64_SPACING_NS = 256
"""Set A's event times went through float64 when its Parquet was made; the raw captures are exact."""


@cache
def depth_of(kind: str, name: str) -> dict[str, RecordedDepth]:
    return read_depth(RECORDED / kind / name)


@njit
def best_after(m: Any, px: Any, qty: Any, events: Any, levels: Any, flow: Any, best: Any) -> None:
    """Status of each message, then the best bid's and ask's price and quantity after it."""
    for n in range(len(events)):
        event = events[n]
        first, bids, asks = int(event.a), int(event.b), int(event.c)
        best[n, 0] = apply_depth(m, px, qty, levels, first, bids, asks, event.d == 1.0, flow)
        best[n, 1:3] = m.top[0, 0]
        best[n, 3:5] = m.top[1, 0]


def rebuilt(depth: RecordedDepth) -> Any:
    best = np.empty((len(depth.events), 5))
    px, qty = np.zeros((2, 2, BOOK_LEVELS))
    best_after(np.zeros(1, MARKET)[0], px, qty, depth.events, depth.levels, np.zeros(MAX_LEVELS), best)
    return best


@needs_recordings
@pytest.mark.parametrize(
    ("name", "symbol", "met"),
    [
        (A, "BTCUSDT.binance_spot", 1072),
        (A, "ETHUSDT.binance_spot", 1056),
        (A, "BTCUSDT.binance_usdm", 629),
        (A, "ETHUSDT.binance_usdm", 551),
        (A, "BTCUSD_PERP.binance_coinm", 1885),
        (A, "ETHUSD_PERP.binance_coinm", 2278),
        (B, "BTCUSDT.binance_usdm", 625),
        (B, "ETHUSDT.binance_usdm", 834),
    ],
)
def test_the_rebuilt_book_is_the_recorded_best_quote_wherever_ids_meet(name: str, symbol: str, met: int) -> None:
    depth = depth_of("sets", name)[symbol]
    ticker, venue = symbol.split(".")
    quotes = pq.read_table(
        RECORDED / "sets" / name / "l1.parquet", filters=[("exchange", "=", venue), ("symbol", "=", ticker)]
    )

    best = rebuilt(depth)

    assert best[0, 0] == FIRST
    assert (best[1:, 0] == APPLIED).all()
    recorded = np.column_stack([quotes[column].to_numpy() for column in ("bid_px", "bid_qty", "ask_px", "ask_qty")])
    ids, quote_ids = depth.events["id"], quotes["update_id"].to_numpy()
    latest = np.searchsorted(quote_ids, ids, side="right") - 1  # the quote in force once the change was made
    known = latest >= 0
    agree = (best[:, 1:] == recorded[latest]).all(axis=1)
    meet = known & (quote_ids[latest] == ids)
    print(f"{name} {symbol}: {meet.sum()} ids meet, {agree[meet].mean():.4%} agree; ", end="")
    print(f"{known.sum()} have a quote in force, {agree[known].mean():.4%} agree")
    assert meet.sum() == met
    assert agree[meet].mean() >= LEAST_AGREEMENT
    assert agree[known].mean() >= LEAST_AGREEMENT_BETWEEN


@needs_recordings
def test_parquet_and_raw_captures_give_the_same_events() -> None:
    for name in (A, B):
        tables, captures = depth_of("sets", name), depth_of("raw", name)
        assert tables.keys() == captures.keys()
        for symbol, table in tables.items():
            capture = captures[symbol]
            assert np.array_equal(table.levels, capture.levels)
            for field in ("kind", "id", "a", "b", "c", "d"):
                assert np.array_equal(table.events[field], capture.events[field])
            arrival = np.abs(table.events["arrival_ns"] - capture.events["arrival_ns"])
            assert arrival.max() <= FLOAT64_SPACING_NS
            later = (
                table.events["ts_ns"] - capture.events["ts_ns"]
            )  # the tables have E, the captures T where there is one
            assert later.min() >= -FLOAT64_SPACING_NS
            assert later.max() <= (FLOAT64_SPACING_NS if symbol.endswith("spot") else 100 * MS)


@needs_recordings
def test_recorded_sequences_have_no_break_and_each_begins_with_its_snapshot() -> None:
    for name in (A, B):
        for depth in depth_of("sets", name).values():
            assert depth.duplicates == 0
            assert (depth.events["kind"] == DEPTH).all()
            assert depth.events["d"].nonzero()[0].tolist() == [0]
            assert (np.diff(depth.events["arrival_ns"]) >= 0).all()


@needs_recordings
def test_a_symbol_whose_snapshot_was_not_recorded_has_no_events() -> None:
    depth = depth_of("sets", D)

    assert len(depth["BTCUSDT.binance_spot"].events) > 800
    assert len(depth["FTMUSDT.binance_spot"].events) == 0
    assert depth["FTMUSDT.binance_spot"].dropped > 0
