"""A recorded market, played again in the order in which it arrived.

Reads folders of normalised Parquet (`trades.parquet`, `l1.parquet`) and folders of raw captures
(`raw_capture.py`).

- Events carry matching time T where the venue gives one (`trade_ts_ns`, `tx_ts_ns`),
  else event time E (`ts_ns`).
- Arrival follows the recorder's clock (`recv_ns`), moved by the median difference to
  event time, since recorders' clocks are off by seconds. Without `recv_ns` it is event time.
- Duplicates are removed on the trade id only: fills of one aggressor repeat price and quantity.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from engine.adapters.raw_capture import is_raw, read_raw
from engine.errors import FeedError
from engine.strategy.events import BOOK, BUYER, SELLER, TRADE, EventBatch, Instrument, Slice, is_symbol
from engine.strategy.pipeline import TICK_NS

TRADE_COLUMNS = ("exchange", "symbol", "ts_ns", "recv_ns", "trade_id", "price", "qty", "aggressor")
BOOK_COLUMNS = ("exchange", "symbol", "ts_ns", "recv_ns", "bid_px", "bid_qty", "ask_px", "ask_qty")

CONTRACT_USD = {"BTCUSD_PERP": 100.0}
DEFAULT_CONTRACT_USD = 10.0
"""Face value of Binance's inverse contracts: 100 USD for BTC, 10 USD for the rest."""

NUMERIC = {
    **dict.fromkeys(("ts_ns", "recv_ns", "trade_ts_ns", "tx_ts_ns"), pa.int64()),
    **dict.fromkeys(("price", "qty", "bid_px", "bid_qty", "ask_px", "ask_qty"), pa.float64()),
}

SIDES = {"buy": float(BUYER), "sell": float(SELLER)}
UNKNOWN_SIDE = 0.0
"""A trade without a known aggressor is refused and counted by the pipeline, not guessed at."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Columns:
    """Events of all symbols in arrival order, one array per field."""

    symbols: tuple[str, ...]
    symbol_index: NDArray[np.int64]
    kind: NDArray[np.int64]
    ts_event_ns: Ints
    arrival_ns: Ints
    values: tuple[Floats, Floats, Floats, Floats]
    trade_id: Ints


class RecordedMarket:
    """A feed over one recorded set."""

    simulated = False

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise FeedError(f"feed {folder}: there is no such folder; give a folder with trades.parquet and l1.parquet")
        self.name = folder.name
        self._columns = _merge(folder, *_load(folder))
        edges = self._columns.arrival_ns
        self.start_ns = (int(edges[0]) // TICK_NS + 1) * TICK_NS
        self.end_ns = int(edges[-1]) // TICK_NS * TICK_NS

    def instruments(self) -> list[Instrument]:
        """Instruments in the recording that have both trades and quotes, by name."""
        return [_instrument(symbol) for symbol in self._columns.symbols]

    def common_span_ns(self) -> tuple[int, int]:
        """Span in which every instrument has events: start and end of arrival."""
        columns = self._columns
        firsts, lasts = [], []
        for index in range(len(columns.symbols)):
            mine = columns.arrival_ns[columns.symbol_index == index]
            firsts.append(int(mine[0]))
            lasts.append(int(mine[-1]))
        return max(firsts), min(lasts)

    def slices(self) -> Iterator[Slice]:
        """Yield every tick from the first event to the last, empty ones included."""
        columns = self._columns
        rows = list(
            zip(
                columns.kind.tolist(),
                columns.ts_event_ns.tolist(),
                *(values.tolist() for values in columns.values),
                columns.trade_id.tolist(),
                strict=True,
            )
        )
        owners = columns.symbol_index.tolist()
        ticks = np.arange(self.start_ns, self.end_ns + TICK_NS, TICK_NS)
        bounds = np.searchsorted(columns.arrival_ns, ticks, side="right").tolist()
        first = 0
        for clock_ns, last in zip(ticks.tolist(), bounds, strict=True):
            grouped: dict[str, list[Any]] = {}
            for index in range(first, last):
                grouped.setdefault(columns.symbols[owners[index]], []).append(rows[index])
            first = last
            yield Slice(clock_ns, {symbol: EventBatch(batch) for symbol, batch in grouped.items()})


def _instrument(symbol: str) -> Instrument:
    ticker, venue = symbol.split(".")
    if venue.endswith("coinm"):
        return Instrument(symbol, CONTRACT_USD.get(ticker, DEFAULT_CONTRACT_USD))
    return Instrument(symbol)


def _load(folder: Path) -> tuple[pa.Table, pa.Table]:
    """Trades and quotes of a normalised set, or of raw captures where there is no such set."""
    if not (folder / "trades.parquet").exists() and is_raw(folder):
        return read_raw(folder)
    return _read(folder / "trades.parquet"), _read(folder / "l1.parquet")


def _read(path: Path) -> pa.Table:
    required = TRADE_COLUMNS if path.name.startswith("trades") else BOOK_COLUMNS
    if not path.is_file():
        raise FeedError(f"feed {path}: there is no such file; a rollout needs trades and best quotes")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise FeedError(f"feed {path}: not a readable Parquet file ({reason}); it may be truncated") from error
    missing = [name for name in required if name not in table.column_names]
    if missing:
        raise FeedError(f"feed {path}: column {missing[0]} is missing")
    if table.num_rows == 0:
        raise FeedError(f"feed {path}: no rows")
    return _cast(path, table)


def _cast(path: Path, table: pa.Table) -> pa.Table:
    """Give the numeric columns their types. Raises FeedError naming file and column."""
    for name, type_ in NUMERIC.items():
        if name not in table.column_names:
            continue
        try:
            column = table[name].cast(type_)
        except (pa.ArrowException, ValueError) as error:
            raise FeedError(f"feed {path}: column {name} is not numeric ({str(error).splitlines()[0]})") from error
        if name == "ts_ns" and column.null_count:
            raise FeedError(f"feed {path}: column {name} has {column.null_count} missing values")
        table = table.set_column(table.column_names.index(name), name, column)
    return table


def _names(table: pa.Table) -> NDArray[np.str_]:
    tickers = table["symbol"].to_pylist()
    venues = table["exchange"].to_pylist()
    return np.array([f"{ticker}.{venue}" for ticker, venue in zip(tickers, venues, strict=True)])


def _ints_of(column: pa.ChunkedArray) -> Ints:
    return np.asarray(column.cast(pa.int64()).to_numpy(), np.int64)


def _floats(table: pa.Table, name: str) -> Floats:
    return np.asarray(table[name].cast(pa.float64()).to_numpy(), np.float64)


def _event_time(table: pa.Table, matching: str) -> Ints:
    """T where the row has it, else E."""
    event = _ints_of(table["ts_ns"])
    if matching not in table.column_names:
        return event
    column = table[matching].cast(pa.int64())
    known = column.is_valid().to_numpy()
    filled = _ints_of(column.fill_null(0))
    return np.where(known, filled, event)


def _arrival(table: pa.Table) -> Ints:
    event = _ints_of(table["ts_ns"])
    if table["recv_ns"].null_count:
        return event
    received = _ints_of(table["recv_ns"])
    return received + np.int64(np.median(event - received))


def _trade_ids(table: pa.Table) -> Ints:
    return np.array([int(text) if text and text.isdigit() else -1 for text in table["trade_id"].to_pylist()], np.int64)


def _merge(folder: Path, trades: pa.Table, books: pa.Table) -> Columns:
    trade_names, book_names = _names(trades), _names(books)
    symbols = sorted(set(trade_names.tolist()) & set(book_names.tolist()))
    if not symbols:
        raise FeedError(f"feed {folder}: no instrument has both trades and quotes")
    bad = [symbol for symbol in symbols if not is_symbol(symbol)]
    if bad:
        raise FeedError(f"feed {folder}: {bad[0]!r} is not a symbol of the form TICKER.venue")
    side = np.array([SIDES.get(name, UNKNOWN_SIDE) for name in trades["aggressor"].to_pylist()])
    none = np.zeros(trades.num_rows)
    arrival = np.concatenate([_arrival(trades), _arrival(books)])
    names = np.concatenate([trade_names, book_names])
    kept = np.isin(names, symbols)
    order = np.argsort(arrival[kept], kind="stable")

    def join(of_trades: NDArray[Any], of_books: NDArray[Any]) -> NDArray[Any]:
        joined: NDArray[Any] = np.concatenate([of_trades, of_books])[kept][order]
        return joined

    return Columns(
        symbols=tuple(symbols),
        symbol_index=np.searchsorted(np.array(symbols), names[kept][order]).astype(np.int64),
        kind=join(np.full(trades.num_rows, TRADE), np.full(books.num_rows, BOOK)).astype(np.int64),
        ts_event_ns=join(_event_time(trades, "trade_ts_ns"), _event_time(books, "tx_ts_ns")),
        arrival_ns=np.maximum.accumulate(arrival[kept][order]),
        values=(
            join(_floats(trades, "price"), _floats(books, "bid_px")),
            join(_floats(trades, "qty"), _floats(books, "bid_qty")),
            join(side, _floats(books, "ask_px")),
            join(none, _floats(books, "ask_qty")),
        ),
        trade_id=join(_trade_ids(trades), np.full(books.num_rows, -1, np.int64)),
    )
