"""`graygate signals` on recorded markets, against the recordings themselves."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from benchmarks.signal_quality import explained, trigger_rate
from config.loader import CONFIG_DIR, load_caps, load_release
from engine.adapters.replay import RecordedMarket
from engine.errors import InputError
from tasks.signals import SCHEMA, write_signals

SETS = Path(__file__).parents[2] / "shared" / "market" / "sets"
RECORDED = ["A_binance_20240808_6inst", "B_binance_usdm_20240718_btc_eth"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=RECORDED)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A recorded set and every signal of it."""
    folder = SETS / request.param
    if not folder.is_dir():
        pytest.skip(f"no recorded market at {folder}")
    out = tmp_path_factory.mktemp("signals") / "signals.parquet"
    params = load_release(CONFIG_DIR / "baseline.yaml", {}, {}).params
    write_signals(RecordedMarket(folder, with_depth=True), params, load_caps(), out)
    return folder, pq.read_table(out).to_pandas()


def per_symbol(recorded: tuple[Path, Any], file: str, matching: str) -> Iterator[tuple[str, Any, Any]]:
    """Symbol, signals, and recorded rows in order of arrival with their event time `at`."""
    folder, signals = recorded
    table = pd.read_parquet(folder / file)
    table["at"] = table[matching].astype("Int64").fillna(table.ts_ns).astype(np.int64)
    for (exchange, symbol), rows in table.groupby(["exchange", "symbol"]):
        mine = signals[(signals.exchange == exchange) & (signals.symbol == symbol)]
        yield f"{symbol}.{exchange}", mine, rows.sort_values("recv_ns", kind="stable")


def test_a_row_is_written_for_every_symbol_and_bucket(recorded: tuple[Path, Any]) -> None:
    _, signals = recorded
    assert list(signals.columns) == SCHEMA.names
    for _, rows in signals.groupby(["exchange", "symbol"]):
        steps = rows.bucket_end_ns.diff().dropna().unique()
        assert steps.tolist() == [250_000_000]
        assert rows["mode"].unique().tolist() == ["quiet"]


def test_cvd_is_exactly_the_signed_sum_of_recorded_trades(recorded: tuple[Path, Any]) -> None:
    for symbol, signals, trades in per_symbol(recorded, "trades.parquet", "trade_ts_ns"):
        lots = np.rint(trades.qty.to_numpy() * 1e8).astype(np.int64) * np.where(trades.aggressor == "buy", 1, -1)
        order = np.argsort(trades["at"].to_numpy(), kind="stable")
        at, total = trades["at"].to_numpy()[order], np.concatenate([[0], np.cumsum(lots[order])])
        expected = total[np.searchsorted(at, signals.bucket_end_ns.to_numpy(), side="left")] / 1e8
        assert (signals.cvd.to_numpy() == expected).all(), symbol
        assert signals.cvd.iloc[-1] == total[-1] / 1e8, symbol


def test_order_flow_is_the_papers_formula_computed_from_scratch(recorded: tuple[Path, Any]) -> None:
    for symbol, signals, quotes in per_symbol(recorded, "l1.parquet", "tx_ts_ns"):
        at = quotes["at"].to_numpy()
        flow = np.array([e_n(old, new) for old, new in _pairs(quotes)])
        edges = signals.bucket_end_ns.to_numpy()
        bucket = np.searchsorted(edges, at[1:], side="right")
        heard = (bucket < len(edges)) & (at[1:] >= edges[0] - 250_000_000)
        expected = np.bincount(bucket[heard], flow[heard], len(edges))
        assert np.abs(signals.ofi_l1.to_numpy() - expected).max() < 1e-9 * max(1.0, np.abs(flow).max()), symbol


def _pairs(quotes: Any) -> Iterator[tuple[Any, Any]]:
    rows = quotes[["bid_px", "bid_qty", "ask_px", "ask_qty"]].to_numpy().tolist()
    return pairwise(rows)


def e_n(old: list[float], new: list[float]) -> float:
    """Cont, Kukanov and Stoikov (2014), eq. 3, written out with its four indicators."""
    (bid0, bid_qty0, ask0, ask_qty0), (bid1, bid_qty1, ask1, ask_qty1) = old, new
    return (bid1 >= bid0) * bid_qty1 - (bid1 <= bid0) * bid_qty0 - (ask1 <= ask0) * ask_qty1 + (ask1 >= ask0) * ask_qty0


def test_order_flow_explains_the_return_of_its_own_second_on_every_symbol(recorded: tuple[Path, Any]) -> None:
    _, signals = recorded
    for symbol, rows in signals.groupby(["exchange", "symbol"]):
        assert explained(rows, 1) > 0.3, symbol
        assert explained(rows, 10) > 0.3, symbol


def test_a_difference_of_quantities_would_fail_that_floor(recorded: tuple[Path, Any]) -> None:
    for symbol, signals, quotes in per_symbol(recorded, "l1.parquet", "tx_ts_ns"):
        size = quotes.bid_qty.to_numpy() - quotes.ask_qty.to_numpy()
        bucket = np.searchsorted(signals.bucket_end_ns.to_numpy(), quotes["at"].to_numpy()[1:], side="right")
        inside = bucket < len(signals)
        wrong = np.bincount(bucket[inside], np.diff(size)[inside], len(signals))
        assert explained(signals.assign(ofi_l1=wrong), 1) < 0.3, symbol


def test_the_shipped_z_score_is_large_as_often_as_a_z_score_should_be(recorded: tuple[Path, Any]) -> None:
    _, signals = recorded
    for symbol, rows in signals.groupby(["exchange", "symbol"]):
        assert 0.01 < trigger_rate(rows.z_ofi) < 0.08, symbol


def test_an_output_that_cannot_be_written_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    folder = SETS / RECORDED[1]
    if not folder.is_dir():
        pytest.skip(f"no recorded market at {folder}")
    params = load_release(CONFIG_DIR / "baseline.yaml", {}, {}).params
    with pytest.raises(InputError, match="cannot be written"):
        write_signals(RecordedMarket(folder), params, load_caps(), tmp_path / "absent" / "signals.parquet")
    assert list(tmp_path.iterdir()) == []
