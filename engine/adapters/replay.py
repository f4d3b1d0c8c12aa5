"""A recorded market, played again in the order in which it arrived.

Reads folders of normalised Parquet (`trades.parquet`, `l1.parquet`) and folders of raw captures
(`raw_capture.py`).

- Events carry matching time T where the venue gives one (`trade_ts_ns`, `tx_ts_ns`),
  else event time E (`ts_ns`).
- Arrival follows the recorder's clock (`recv_ns`), moved by the median difference to
  event time, since recorders' clocks are off by seconds. Without `recv_ns` it is event time.
- Duplicates are removed on the trade id only: fills of one aggressor repeat price and quantity.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from engine.adapters.depth_recording import RecordedDepth, read_depth
from engine.adapters.raw_capture import is_raw, read_raw
from engine.errors import FeedError
from engine.strategy.events import BUYER, SELLER, TICK_NS, EventBatch, Events, Instrument, Slice, is_symbol
from engine.strategy.layout import EVENT, QUOTE, TRADE

TRADE_COLUMNS = ("exchange", "symbol", "ts_ns", "recv_ns", "trade_id", "price", "qty", "aggressor")
BOOK_COLUMNS = ("exchange", "symbol", "ts_ns", "recv_ns", "bid_px", "bid_qty", "ask_px", "ask_qty")

CONTRACT_USD = {"BTCUSD_PERP": 100.0}
DEFAULT_CONTRACT_USD = 10.0
"""Face value of Binance's inverse contracts: 100 USD for BTC, 10 USD for the rest."""

MAX_DIGITS = 8
"""Decimals of a quantity on any Binance market."""

NUMERIC = {
    **dict.fromkeys(("ts_ns", "recv_ns", "trade_ts_ns", "tx_ts_ns"), pa.int64()),
    **dict.fromkeys(("price", "qty", "bid_px", "bid_qty", "ask_px", "ask_qty"), pa.float64()),
}

SIDES = {"buy": float(BUYER), "sell": float(SELLER)}
UNKNOWN_SIDE = 0.0
"""A side that is neither is refused and counted by the fold; where the venue gives none (null), it is inferred."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class RecordedMarket:
    """A feed over one recorded set. With depth, the recording's books are in it as well, where it has any."""

    simulated = False

    def __init__(self, folder: Path, *, with_depth: bool = False) -> None:
        if not folder.is_dir():
            raise FeedError(f"feed {folder}: there is no such folder; give a folder with trades.parquet and l1.parquet")
        self.name = folder.name
        self._batches = _merge(folder, *_load(folder))
        if with_depth:
            self._batches = _with_depth(self._batches, read_depth(folder))
        first = min(int(batch.events["arrival_ns"][0]) for batch in self._batches.values())
        last = max(int(batch.events["arrival_ns"][-1]) for batch in self._batches.values())
        self.start_ns = (first // TICK_NS + 1) * TICK_NS
        self.end_ns = -(-last // TICK_NS) * TICK_NS

    def instruments(self) -> list[Instrument]:
        """Instruments in the recording that have both trades and quotes, by name."""
        return [_instrument(symbol, batch.events) for symbol, batch in self._batches.items()]

    def common_span_ns(self) -> tuple[int, int]:
        """Span in which every instrument has events: start and end of arrival."""
        arrivals = [batch.events["arrival_ns"] for batch in self._batches.values()]
        return max(int(mine[0]) for mine in arrivals), min(int(mine[-1]) for mine in arrivals)

    def slices(self, step_ns: int = TICK_NS) -> Iterator[Slice]:
        """Yield slices of `step_ns`, whole ticks ending on multiples of it, from the first event to the last."""
        edges = [self.start_ns - TICK_NS, self.start_ns]
        edges += range((self.start_ns // step_ns + 1) * step_ns, self.end_ns + 1, step_ns)
        edges += [self.end_ns] if edges[-1] < self.end_ns else []
        bounds = {
            symbol: np.searchsorted(batch.events["arrival_ns"], edges, side="right").tolist()
            for symbol, batch in self._batches.items()
        }
        for at in range(1, len(edges)):
            pieces = {
                symbol: EventBatch(
                    batch.events[bounds[symbol][at - 1] if at > 1 else 0 : bounds[symbol][at]], batch.levels
                )
                for symbol, batch in self._batches.items()
            }
            yield Slice(edges[at - 1], edges[at], {symbol: piece for symbol, piece in pieces.items() if len(piece)})


def _instrument(symbol: str, events: Events) -> Instrument:
    return Instrument(symbol, contract_usd(symbol), lots_per_unit(events["b"][events["kind"] == TRADE]))


def contract_usd(symbol: str) -> float | None:
    """Face value of one contract where a `TICKER.venue` is coin-margined, else None."""
    ticker, venue = symbol.split(".")
    return CONTRACT_USD.get(ticker, DEFAULT_CONTRACT_USD) if venue.endswith("coinm") else None


def lots_per_unit(quantities: Floats) -> float:
    """The coarsest power of ten, at most 1e8, of which every traded quantity is a whole number of parts: the less,
    the further a volume delta reaches before it is out of range."""
    known = quantities[np.isfinite(quantities) & (quantities > 0.0)]
    for digits in range(MAX_DIGITS):
        lots = known * 10.0**digits
        if np.allclose(np.rint(lots), lots, rtol=1e-9, atol=0.0):
            return float(10**digits)
    return float(10**MAX_DIGITS)


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


def _merge(folder: Path, trades: pa.Table, books: pa.Table) -> dict[str, EventBatch]:
    """Events of each symbol that has both trades and quotes, by name, in arrival order."""
    trade_names, book_names = _names(trades), _names(books)
    symbols = sorted(set(trade_names.tolist()) & set(book_names.tolist()))
    if not symbols:
        raise FeedError(f"feed {folder}: no instrument has both trades and quotes")
    bad = [symbol for symbol in symbols if not is_symbol(symbol)]
    if bad:
        raise FeedError(f"feed {folder}: {bad[0]!r} is not a symbol of the form TICKER.venue")
    trade_events, quote_events = _trade_events(trades), _quote_events(books)
    merged = {}
    for symbol in symbols:
        events = np.concatenate([trade_events[trade_names == symbol], quote_events[book_names == symbol]])
        merged[symbol] = EventBatch(in_arrival_order(events))
    return merged


def in_arrival_order(events: Events) -> Events:
    """Sort by arrival; what arrived together keeps its order."""
    ordered: Events = events[np.argsort(events["arrival_ns"], kind="stable")]
    return ordered


def _trade_events(trades: pa.Table) -> Events:
    names = trades["aggressor"].to_pylist()
    side = np.array([SIDES.get(name, UNKNOWN_SIDE) for name in names])
    inferred = np.array([name is None for name in names], np.float64)
    columns = (_floats(trades, "price"), _floats(trades, "qty"), side, inferred)
    return _events(trades, TRADE, "trade_ts_ns", _ids(trades, "trade_id"), columns)


def _quote_events(books: pa.Table) -> Events:
    columns = tuple(_floats(books, name) for name in ("bid_px", "bid_qty", "ask_px", "ask_qty"))
    return _events(books, QUOTE, "tx_ts_ns", _ids(books, "update_id"), columns)


def _events(table: pa.Table, kind: int, matching: str, ids: Ints, columns: tuple[Floats, ...]) -> Events:
    events = np.zeros(table.num_rows, EVENT)
    events["kind"] = kind
    events["arrival_ns"] = _arrival(table)
    events["ts_ns"] = _event_time(table, matching)
    events["id"] = ids
    for name, column in zip("abcd", columns, strict=True):
        events[name] = column
    return events


def _ids(table: pa.Table, name: str) -> Ints:
    """Numbers that rise with each event, -1 where the recording has none."""
    if name not in table.column_names:
        return np.full(table.num_rows, -1, np.int64)
    column = table[name]
    if pa.types.is_integer(column.type):
        return _ints_of(column.fill_null(-1))
    return np.array([int(text) if text and text.isdigit() else -1 for text in column.to_pylist()], np.int64)


def _with_depth(batches: dict[str, EventBatch], depth: Mapping[str, RecordedDepth]) -> dict[str, EventBatch]:
    """Add each symbol's depth. A level's row number stays what it was: batches are views of one level array."""
    return {
        symbol: EventBatch(
            in_arrival_order(np.concatenate([batch.events, depth[symbol].events])), depth[symbol].levels
        ) if symbol in depth else batch
        for symbol, batch in batches.items()
    }  # fmt: skip
