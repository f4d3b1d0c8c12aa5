"""Recorded depth in normalised Parquet, one row per level: the messages it was made of.

`l2_updates.parquet` holds changes and snapshots; a snapshot that is only in `l2_snapshots.parquet` is added.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from engine.errors import FeedError

UPDATES, SNAPSHOTS = "l2_updates.parquet", "l2_snapshots.parquet"

UNKNOWN = -1
"""A time or an update id that the message does not carry."""

MESSAGE = np.dtype(
    [
        (name, "i8")
        for name in (
            *("is_snapshot", "first_id", "last_id", "prev_id"),  # U, u, pu; a snapshot has only the last
            *("event_ns", "match_ns", "recv_ns", "capture"),
            *("row", "bids", "asks"),  # of the symbol's levels
        )
    ]
)

Records = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One symbol as recorded: MESSAGE[n] in arrival order, float64[m, 2]."""

    messages: Records
    levels: Floats


_NAME = pa.dictionary(pa.int32(), pa.string())
_UPDATE_COLUMNS = {
    **dict.fromkeys(("exchange", "symbol", "side"), _NAME),
    **dict.fromkeys(("recv_ns", "first_update_id", "last_update_id"), pa.int64()),
    **dict.fromkeys(("px", "qty"), pa.float64()),
    "is_snapshot": pa.bool_(),
}
_SNAPSHOT_COLUMNS = {
    **dict.fromkeys(("exchange", "symbol"), _NAME),
    **dict.fromkeys(("recv_ns", "last_update_id"), pa.int64()),
    **dict.fromkeys(("bid_px", "bid_qty", "ask_px", "ask_qty"), pa.list_(pa.float64())),
}
_OPTIONAL_COLUMNS = {"capture": _NAME, **dict.fromkeys(("ts_ns", "tx_ts_ns", "prev_update_id"), pa.int64())}


_FIELDS = {
    "is_snapshot": "is_snapshot", "first_id": "first_update_id", "last_id": "last_update_id",
    "prev_id": "prev_update_id", "event_ns": "ts_ns", "match_ns": "tx_ts_ns", "recv_ns": "recv_ns",
    "capture": "capture",
}  # fmt: skip
"""Column of each field of MESSAGE."""


def has_tables(folder: Path) -> bool:
    """Whether a folder holds normalised depth."""
    return (folder / UPDATES).exists()


def read_tables(folder: Path) -> dict[str, Recorded]:
    """Messages of each symbol (`TICKER.venue`). Raises FeedError naming file and column."""
    updates = _read_table(folder / UPDATES, _UPDATE_COLUMNS)
    if (folder / SNAPSHOTS).exists():
        updates = pa.concat_tables([updates, _missing_snapshots(folder / SNAPSHOTS, updates)])
    tickers, symbols = _coded(updates["symbol"])
    venues, exchanges = _coded(updates["exchange"])
    sides, side_names = _coded(updates["side"])
    if not set(side_names) <= {"bid", "ask"}:
        raise FeedError(f"feed {folder / UPDATES}: column side holds something other than bid and ask")
    rows = {
        name: _integers(updates[name])
        for name, type_ in (_UPDATE_COLUMNS | _OPTIONAL_COLUMNS).items()
        if type_ in (pa.int64(), pa.bool_())
    }
    rows["capture"] = _coded(updates["capture"])[0]
    rows["is_ask"] = np.array([name == "ask" for name in side_names], np.int64)[sides]
    levels = np.column_stack([updates["px"].to_numpy(), updates["qty"].to_numpy()])
    owners = venues * len(symbols) + tickers
    order = np.lexsort((rows["recv_ns"], owners))
    bounds = np.flatnonzero(np.diff(owners[order], prepend=-1, append=-1))
    found = {}
    for first, last in pairwise(bounds.tolist()):
        mine = order[first:last]
        symbol = f"{symbols[tickers[mine[0]]]}.{exchanges[venues[mine[0]]]}"
        found[symbol] = _messages_of({name: values[mine] for name, values in rows.items()}, levels[mine])
    return found


def _read_table(path: Path, required: dict[str, pa.DataType]) -> pa.Table:
    """Columns of the given types without missing values, then the optional ones, made up where they are not."""
    names = [name for name, type_ in (required | _OPTIONAL_COLUMNS).items() if type_ == _NAME]
    try:
        table = pq.read_table(path, read_dictionary=names)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise FeedError(f"feed {path}: not a readable Parquet file ({reason}); it may be truncated") from error
    columns = {}
    for name, type_ in (required | _OPTIONAL_COLUMNS).items():
        if name not in table.column_names:
            if name in required:
                raise FeedError(f"feed {path}: column {name} is missing")
            columns[name] = pa.nulls(table.num_rows, type_)
            continue
        try:
            columns[name] = table[name].cast(type_)
        except (pa.ArrowException, ValueError) as error:
            raise FeedError(f"feed {path}: column {name} is not {type_} ({str(error).splitlines()[0]})") from error
        if name in required and columns[name].null_count:
            raise FeedError(f"feed {path}: column {name} has {columns[name].null_count} missing values")
    return pa.table(columns)


def _coded(column: pa.ChunkedArray) -> tuple[Ints, list[str]]:
    """Numbers of the names in a column, UNKNOWN where there is none, and the names."""
    coded = column.unify_dictionaries().combine_chunks()
    return _integers(coded.indices), coded.dictionary.to_pylist()


def _integers(column: pa.ChunkedArray | pa.Array) -> Ints:
    return np.asarray(column.cast(pa.int64()).fill_null(UNKNOWN).to_numpy(), np.int64)


def _missing_snapshots(path: Path, updates: pa.Table) -> pa.Table:
    """Rows, as in `updates`, of those snapshots that are not among them."""
    key = ("exchange", "symbol", "last_update_id")
    there = updates.filter(updates["is_snapshot"]).select(key)
    have = {tuple(row.values()) for row in there.to_pylist()}
    rows: dict[str, list[Any]] = {name: [] for name in updates.column_names}
    for snapshot in _read_table(path, _SNAPSHOT_COLUMNS).to_pylist():
        if tuple(snapshot[name] for name in key) in have:
            continue
        for side in ("bid", "ask"):
            prices, quantities = snapshot[f"{side}_px"], snapshot[f"{side}_qty"]
            if len(prices) != len(quantities):
                raise FeedError(f"feed {path}: {side}_px and {side}_qty of {snapshot['symbol']} differ in length")
            same = snapshot | {"side": side, "is_snapshot": True, "first_update_id": snapshot["last_update_id"]}
            for name in rows.keys() - {"px", "qty"}:
                rows[name] += [same[name]] * len(prices)
            rows["px"] += prices
            rows["qty"] += quantities
    return pa.table(rows, schema=updates.schema)


def _messages_of(rows: dict[str, Ints], levels: Floats) -> Recorded:
    """Messages of one symbol: neighbouring rows with the same last id, receive time, kind and capture are one."""
    key = [rows[name] for name in ("recv_ns", "is_snapshot", "last_update_id", "capture")]
    is_start = np.r_[True, np.any([values[1:] != values[:-1] for values in key], axis=0)]
    starts = np.flatnonzero(is_start)
    messages = np.zeros(len(starts), MESSAGE)
    for field, name in _FIELDS.items():
        messages[field] = rows[name][starts]
    messages["row"] = starts
    messages["asks"] = np.add.reduceat(rows["is_ask"], starts)
    messages["bids"] = np.diff(starts, append=len(is_start)) - messages["asks"]
    bids_first = np.argsort(2 * np.cumsum(is_start) + rows["is_ask"], kind="stable")
    return Recorded(messages, levels[bids_first])
