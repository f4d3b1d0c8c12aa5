# mypy: disable-error-code="import-not-found"
"""hftbacktest on the stream: order flow and cumulative volume delta at every feed event, compiled.

Run by the bench environment: python -m benchmarks.peers.hftbacktest_peer STREAM.npz

One backtest an instrument (one with eight would have to look which of them changed), books of the faster kind
(ROIVector), its exchange model as in any backtest, no orders. CPU time is that of the compiled loop alone:
reading, converting, building and compiling are left out.
"""

import sys
import time
from pathlib import Path
from typing import Any

from hftbacktest import BacktestAsset, ROIVectorMarketDepthBacktest
from hftbacktest.types import BUY_EVENT, event_dtype
from numba import njit

from benchmarks.peers.answer import Run, answer_runs
from benchmarks.peers.feed import HFT_EVENT, hftbacktest_rows, load

FEED = 2
TIMEOUT_NS = 3_600_000_000_000
ROOM_TICKS = 100
"""Price levels that the book keeps beyond the highest and lowest price of the stream."""


@njit
def fold(hbt):  # type: ignore[no-untyped-def]  # numba infers the types
    """Return signed trade quantity and the sum of e_n.

    The last feed event comes with the word that the data has ended. Quantities are asked for by price:
    in 2.4.4 `best_bid_qty` of this kind of book gives the price.
    """
    cvd = flow = 0.0
    has_quote = False
    bid = ask = 0
    bid_qty = ask_qty = 0.0
    code = FEED
    while code == FEED:
        code = hbt.wait_next_feed(False, TIMEOUT_NS)
        trades = hbt.last_trades(0)
        if len(trades) > 0:
            for trade in trades:
                cvd += trade.qty if trade.ev & BUY_EVENT == BUY_EVENT else -trade.qty
            hbt.clear_last_trades(0)
            continue
        depth = hbt.depth(0)
        new_bid, new_ask = depth.best_bid_tick, depth.best_ask_tick
        new_bid_qty, new_ask_qty = depth.bid_qty_at_tick(new_bid), depth.ask_qty_at_tick(new_ask)
        if has_quote:
            if new_bid >= bid:
                flow += new_bid_qty
            if new_bid <= bid:
                flow -= bid_qty
            if new_ask <= ask:
                flow -= new_ask_qty
            if new_ask >= ask:
                flow += ask_qty
        has_quote = True
        bid, bid_qty, ask, ask_qty = new_bid, new_bid_qty, new_ask, new_ask_qty
    return cvd, flow


def backtest(instrument: Any, rows: Any) -> Any:
    """Return one instrument's backtest over its whole feed."""
    tick, lot = 10.0 ** -int(instrument["price_digits"]), 10.0 ** -int(instrument["qty_digits"])
    asset = (
        BacktestAsset()
        .data(rows)
        .linear_asset(1.0)
        .constant_order_latency(0, 0)
        .risk_adverse_queue_model()
        .no_partial_fill_exchange()
        .trading_value_fee_model(0.0, 0.0)
        .tick_size(tick)
        .lot_size(lot)
        .roi_lb(float(rows["px"].min()) - ROOM_TICKS * tick)
        .roi_ub(float(rows["px"].max()) + ROOM_TICKS * tick)
        .last_trades_capacity(16)
    )
    return ROIVectorMarketDepthBacktest([asset])


def run(feeds: list[tuple[Any, Any]]) -> Run:
    hosts = [backtest(instrument, rows) for instrument, rows in feeds]
    started = time.process_time()
    results = [fold(host) for host in hosts]
    cpu_s = time.process_time() - started
    for host in hosts:
        host.close()
    symbols = [str(instrument["symbol"]) for instrument, _ in feeds]
    return Run(
        cpu_s=cpu_s,
        cvd={symbol: cvd for symbol, (cvd, _) in zip(symbols, results, strict=True)},
        flow={symbol: flow for symbol, (_, flow) in zip(symbols, results, strict=True)},
    )


def main(path: Path) -> None:
    assert event_dtype == HFT_EVENT, f"hftbacktest's event is {event_dtype}, the feed is made of {HFT_EVENT}"
    feeds = [(instrument, hftbacktest_rows(events)) for instrument, events in load(path)]
    fold(backtest(feeds[0][0], feeds[0][1][:1000]))
    answer_runs(lambda: run(feeds))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
