"""The simulated market beside the recorded one: the same statistics of both, one table, one JSON line last.

Set A is read from `../shared/market` relative to the repository root; where it is absent
only the simulated market is measured. Exit code 0 either way.

Run from the repository root: python -m benchmarks.market_calibration
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.adapters.replay import RecordedMarket
from engine.adapters.simulated import SimulatedMarket
from engine.clock import NS_PER_S
from engine.strategy.events import Events
from engine.strategy.layout import QUOTE, TRADE

SET_A = Path(__file__).resolve().parents[2] / "shared" / "market" / "sets" / "A_binance_20240808_6inst"
START_NS = 1_723_161_256 * NS_PER_S
"""2024-08-08 23:54:16 UTC, when set A begins: the simulated hours have the same factor."""
SECONDS = 343.0
SEEDS = (1, 2, 3, 4, 5, 6, 7, 8)
TICK_SIZES = {
    "BTCUSDT.binance_usdm": 0.1,
    "ETHUSDT.binance_usdm": 0.01,
    "BTCUSDT.binance_spot": 0.01,
    "ETHUSDT.binance_spot": 0.01,
    "BTCUSDT.simulated": 0.1,
    "ETHUSDT.simulated": 0.01,
}

Floats = NDArray[np.float64]
Stats = dict[str, float]


@dataclass(frozen=True, slots=True)
class Tape:
    """One symbol as arrays: trades, quotes, and flow per 100 ms. Times in s since the first quote."""

    trade_s: Floats
    qty: Floats
    side: Floats
    quote_s: Floats
    book: Floats
    """Shape (n_quotes, 4): bid_px, bid_qty, ask_px, ask_qty."""
    flow: Floats
    """Order flow (Cont) per 100 ms."""
    signed_qty: Floats
    """Signed trade quantity per 100 ms."""
    mid: Floats
    """Mid at the end of every 100 ms."""


def order_flow(book: Floats) -> Floats:
    """e_n of Cont, Kukanov and Stoikov (2014) of each change of quotes, shape (n_quotes - 1,)."""
    (bid0, bid_qty0, ask0, ask_qty0), (bid1, bid_qty1, ask1, ask_qty1) = book[:-1].T, book[1:].T
    bid = (bid1 >= bid0) * bid_qty1 - (bid1 <= bid0) * bid_qty0
    return np.asarray(bid - (ask1 <= ask0) * ask_qty1 + (ask1 >= ask0) * ask_qty0)


def tape_of(events: Events) -> Tape:
    trades, quotes = events[events["kind"] == TRADE], events[events["kind"] == QUOTE]
    zero = quotes["ts_ns"][0]
    trade_s, quote_s = (trades["ts_ns"] - zero) / NS_PER_S, (quotes["ts_ns"] - zero) / NS_PER_S
    book = np.column_stack([quotes[name] for name in "abcd"])
    each = order_flow(book)
    bins = int(quote_s[-1] * 10)
    mids = 0.5 * (book[:, 0] + book[:, 2])
    ends = np.arange(1, bins + 1) / 10
    signed = trades["b"] * trades["c"]
    kept = (trade_s >= 0.0) & (trade_s < bins / 10)
    return Tape(
        trade_s=trade_s,
        qty=trades["b"],
        side=trades["c"],
        quote_s=quote_s,
        book=book,
        flow=np.asarray(np.bincount((quote_s[1:] * 10).astype(int), each, bins + 1)[:bins], np.float64),
        signed_qty=np.asarray(np.bincount((trade_s[kept] * 10).astype(int), signed[kept], bins), np.float64),
        mid=mids[np.maximum(np.searchsorted(quote_s, ends) - 1, 0)],
    )


def lag(values: Floats, steps: int) -> float:
    """Autocorrelation."""
    return float(np.corrcoef(values[:-steps], values[steps:])[0, 1])


def fit(x: Floats, mid: Floats, bins: int) -> float:
    """R^2 of the change of mid on x, both over `bins` times 100 ms."""
    whole = len(x) // bins
    total = x[: whole * bins].reshape(whole, bins).sum(axis=1)
    change = np.diff(mid[bins - 1 : whole * bins : bins])
    return float(np.corrcoef(total[1:], change)[0, 1] ** 2)


def prediction(tape: Tape, delay: int, horizon: int) -> float:
    """Correlation of the signed root of 1 s of flow, `delay` bins old, with the next return (clipped)."""
    total = np.convolve(tape.flow, np.ones(10))[9 : len(tape.flow)]
    signal = np.sign(total) * np.sqrt(np.abs(total))
    log_mid = np.log(tape.mid[9:])
    then = log_mid[delay + horizon :] - log_mid[delay:-horizon]
    size = 5 * np.abs(then).mean()
    return float(np.corrcoef(signal[: len(then)], np.clip(then, -size, size))[0, 1])


def _activity(tape: Tape) -> Stats:
    span_s = tape.quote_s[-1]
    per_bin, per_s = (np.bincount((tape.trade_s[tape.trade_s >= 0] * k).astype(int)).astype(float) for k in (10, 1))
    orders = np.unique(tape.trade_s)
    order_bin = np.bincount((orders[orders >= 0] * 10).astype(int)).astype(float)
    quote_bin = np.bincount((tape.quote_s * 10).astype(int)).astype(float)
    return {
        "trades per s": len(tape.trade_s) / span_s,
        "trade instants per s": len(orders) / span_s,
        "trades 1 s variance / mean": per_s.var() / per_s.mean(),
        "trades 100 ms acf lag 1": lag(per_bin, 1),
        "instants 100 ms variance / mean": order_bin.var() / order_bin.mean(),
        "instants 100 ms acf lag 1": lag(order_bin, 1),
        "quotes per s": len(tape.quote_s) / span_s,
        "quotes 100 ms variance / mean": quote_bin.var() / quote_bin.mean(),
        "quotes 100 ms acf lag 1": lag(quote_bin, 1),
    }


def _shape(tape: Tape, tick: float) -> Stats:
    spread = np.rint((tape.book[:, 2] - tape.book[:, 0]) / tick)
    depth = np.concatenate([tape.book[:, 1], tape.book[:, 3]])
    changed = np.diff(tape.book[:, 0] + tape.book[:, 2]) != 0
    return {
        "spread ticks mean": spread.mean(),
        "spread share of 1 tick": (spread == 1).mean(),
        "quotes that move the mid": changed.mean(),
        "depth median": float(np.median(depth)),
        "depth P95": float(np.quantile(depth, 0.95)),
        "depth log sd": np.log(depth).std(),
        "log bid, ask depth correlation": float(np.corrcoef(np.log(tape.book[:, 1]), np.log(tape.book[:, 3]))[0, 1]),
        "trade size median": float(np.median(tape.qty)),
        "trade size P99": float(np.quantile(tape.qty, 0.99)),
        "trade size mean": tape.qty.mean(),
    }


def _flow(tape: Tape) -> Stats:
    mid = tape.mid
    one, ten = (np.log(mid[k:] / mid[:-k]) * 1e4 for k in (10, 100))
    return {
        "trade sign acf lag 1": lag(tape.side, 1),
        "trade sign acf lag 10": lag(tape.side, 10),
        "trade sign acf lag 50": lag(tape.side, 50),
        "mid return sd 1 s, bps": one.std(),
        "mid return sd 10 s, bps": ten.std(),
        "flow 100 ms acf lag 1": lag(tape.flow, 1),
        "flow 100 ms acf lag 5": lag(tape.flow, 5),
        "R2 flow, 1 s": fit(tape.flow, mid, 10),
        "R2 flow, 10 s": fit(tape.flow, mid, 100),
        "R2 trades, 1 s": fit(tape.signed_qty, mid, 10),
        "IC 0.5 s ahead, no delay": prediction(tape, 0, 5),
        "IC 0.5 s ahead, 0.3 s delay": prediction(tape, 3, 5),
        "IC 0.5 s ahead, 1 s delay": prediction(tape, 10, 5),
        "IC 0.5 s ahead, 3 s delay": prediction(tape, 30, 5),
        "IC 1 s ahead, no delay": prediction(tape, 0, 10),
        "IC 2 s ahead, no delay": prediction(tape, 0, 20),
    }


def statistics(events: Events, tick: float) -> Stats:
    """Everything the simulated market is calibrated on, of one symbol's events."""
    tape = tape_of(events)
    found = _activity(tape) | _shape(tape, tick) | _flow(tape)
    return {name: float(value) for name, value in found.items()}


def events_of(market: RecordedMarket | SimulatedMarket) -> dict[str, Events]:
    """All events by symbol, in arrival order."""
    found: dict[str, list[Events]] = {}
    for slice_ in market.slices(NS_PER_S):
        for symbol, batch in slice_.batches.items():
            found.setdefault(symbol, []).append(batch.events)
    return {symbol: np.concatenate(batches) for symbol, batches in found.items()}


def simulated(seeds: tuple[int, ...], seconds: float = SECONDS) -> dict[str, Stats]:
    """Mean of the statistics over seeds."""
    runs: dict[str, list[Stats]] = {}
    for seed in seeds:
        for symbol, events in events_of(SimulatedMarket(seed, ("BTCUSDT", "ETHUSDT"), START_NS, seconds)).items():
            runs.setdefault(symbol, []).append(statistics(events, TICK_SIZES[symbol]))
    return {
        symbol: {name: float(np.mean([each[name] for each in found])) for name in found[0]}
        for symbol, found in runs.items()
    }


def recorded(folder: Path) -> dict[str, Stats]:
    """Statistics of the four instruments of set A that have a known tick size."""
    found = events_of(RecordedMarket(folder))
    return {symbol: statistics(events, TICK_SIZES[symbol]) for symbol, events in found.items() if symbol in TICK_SIZES}


def events_per_cpu_s(clock: Callable[[], float] = time.process_time) -> float:
    """Speed at which ten minutes of both symbols are made and sliced, one core."""
    market = SimulatedMarket(1, ("BTCUSDT", "ETHUSDT"), START_NS, 600.0)
    began = clock()
    count = sum(len(batch) for slice_ in market.slices(NS_PER_S) for batch in slice_.batches.values())
    return count / (clock() - began)


def main() -> int:
    table = simulated(SEEDS)
    if SET_A.is_dir():
        table |= recorded(SET_A)
    else:
        print(f"set A is absent ({SET_A}): the simulated market only")
    symbols = sorted(table)
    print(f"{'statistic':34}" + "".join(f"{symbol:>23}" for symbol in symbols))
    for name in table[symbols[0]]:
        print(f"{name:34}" + "".join(f"{table[symbol][name]:23.4g}" for symbol in symbols))
    speed = events_per_cpu_s()
    print(f"generation: {speed:,.0f} events per CPU second")
    result: dict[str, Any] = {"seeds": len(SEEDS), "seconds": SECONDS, "events_per_cpu_s": round(speed)}
    print(json.dumps(result | {"statistics": table}, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
