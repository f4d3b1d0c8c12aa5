# mypy: disable-error-code="import-not-found, misc"
"""nautilus_trader's BacktestEngine on the stream: a strategy that computes order flow and volume delta per tick.

Run by the bench environment: python -m benchmarks.peers.nautilus_peer STREAM.npz

One engine with all instruments, its matching engine as in any backtest, no orders, logging and the analysis
after a run off. CPU time is that of `BacktestEngine.run` alone: making the ticks and adding them is left out.
"""

import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.common.config import LoggingConfig
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import QuoteTick, TradeTick
from nautilus_trader.model.enums import AccountType, AggressorSide, OmsType
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import CurrencyPair
from nautilus_trader.model.objects import Currency, Money, Price, Quantity
from nautilus_trader.risk.config import RiskEngineConfig
from nautilus_trader.trading.config import StrategyConfig
from nautilus_trader.trading.strategy import Strategy

from benchmarks.peers.answer import Run, answer_runs
from benchmarks.peers.feed import load
from engine.strategy.layout import QUOTE, TRADE

VENUE = Venue("BENCH")


class Flow(Strategy):
    """Sums of one instrument."""

    def __init__(self, instrument_id: InstrumentId) -> None:
        super().__init__(StrategyConfig(strategy_id=f"flow-{instrument_id.symbol}"))
        self.instrument = instrument_id
        self.on_reset()

    def on_reset(self) -> None:
        self.cvd = self.flow = 0.0
        self.has_quote = False
        self.bid = self.bid_qty = self.ask = self.ask_qty = 0.0

    def on_start(self) -> None:
        self.subscribe_quote_ticks(self.instrument)
        self.subscribe_trade_ticks(self.instrument)

    def on_trade_tick(self, tick: TradeTick) -> None:
        size = tick.size.as_double()
        self.cvd += size if tick.aggressor_side == AggressorSide.BUYER else -size

    def on_quote_tick(self, tick: QuoteTick) -> None:
        bid, bid_qty = tick.bid_price.as_double(), tick.bid_size.as_double()
        ask, ask_qty = tick.ask_price.as_double(), tick.ask_size.as_double()
        if self.has_quote:
            if bid >= self.bid:
                self.flow += bid_qty
            if bid <= self.bid:
                self.flow -= self.bid_qty
            if ask <= self.ask:
                self.flow -= ask_qty
            if ask >= self.ask:
                self.flow += self.ask_qty
        self.has_quote = True
        self.bid, self.bid_qty, self.ask, self.ask_qty = bid, bid_qty, ask, ask_qty


def instrument_of(item: Any) -> CurrencyPair:
    ticker = str(item["symbol"]).split(".")[0]
    price_digits, qty_digits = int(item["price_digits"]), int(item["qty_digits"])
    return CurrencyPair(
        instrument_id=InstrumentId(Symbol(ticker), VENUE),
        raw_symbol=Symbol(ticker),
        base_currency=Currency.from_str(ticker.removesuffix("USDT")),
        quote_currency=USDT,
        price_precision=price_digits,
        size_precision=qty_digits,
        price_increment=Price(10.0**-price_digits, price_digits),
        size_increment=Quantity(10.0**-qty_digits, qty_digits),
        margin_init=Decimal(0),
        margin_maint=Decimal(0),
        maker_fee=Decimal(0),
        taker_fee=Decimal(0),
        ts_event=0,
        ts_init=0,
    )


def ticks_of(item: Any, instrument: CurrencyPair, events: Any) -> list[Any]:
    """Return one instrument's ticks, quotes before trades."""
    digits = instrument.price_precision, instrument.size_precision
    quotes, trades = events[events["kind"] == QUOTE], events[events["kind"] == TRADE]
    columns = [np.ascontiguousarray(quotes[name]) for name in ("a", "c", "b", "d")]
    of_trades = [np.ascontiguousarray(trades[name]) for name in ("a", "b")]
    sides = np.where(trades["c"] > 0, AggressorSide.BUYER, AggressorSide.SELLER).astype(np.uint8)
    ids = [str(number) for number in trades["id"].tolist()]
    return [
        *QuoteTick.from_raw_arrays_to_list(instrument.id, *digits, *columns, *_times(quotes)),
        *TradeTick.from_raw_arrays_to_list(instrument.id, *digits, *of_trades, sides, ids, *_times(trades)),
    ]


def _times(events: Any) -> tuple[Any, Any]:
    return events["ts_ns"].astype(np.uint64), events["arrival_ns"].astype(np.uint64)


def build(stream: list[tuple[Any, Any]]) -> tuple[BacktestEngine, dict[str, Flow]]:
    """Return the engine with all ticks in it, in order of time, and a strategy per symbol."""
    engine = BacktestEngine(
        BacktestEngineConfig(
            logging=LoggingConfig(bypass_logging=True), risk_engine=RiskEngineConfig(bypass=True), run_analysis=False
        )
    )
    engine.add_venue(VENUE, OmsType.NETTING, AccountType.CASH, [Money(1_000_000, USDT)])
    strategies, ticks = {}, []
    for item, events in stream:
        instrument = instrument_of(item)
        engine.add_instrument(instrument)
        strategies[str(item["symbol"])] = Flow(instrument.id)
        ticks += ticks_of(item, instrument, events)
    ticks.sort(key=lambda tick: tick.ts_init)
    engine.add_data(ticks, sort=True)
    for strategy in strategies.values():
        engine.add_strategy(strategy)
    return engine, strategies


def run(engine: BacktestEngine, strategies: dict[str, Flow]) -> Run:
    engine.reset()
    started = time.process_time()
    engine.run()
    return Run(
        cpu_s=time.process_time() - started,
        cvd={symbol: strategy.cvd for symbol, strategy in strategies.items()},
        flow={symbol: strategy.flow for symbol, strategy in strategies.items()},
    )


def main(path: Path) -> None:
    engine, strategies = build(load(path))
    answer_runs(lambda: run(engine, strategies))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
