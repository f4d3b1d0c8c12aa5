"""Raw captures of Binance's combined streams: one `<recv_ns> <json>` per line, gzip, one file per instrument and day.

Files are named `<market>__<symbol>_<date>.gz`, market being spot, usdm or cm. Only trades and best
quotes are read here. A line that is not whole is refused, since a capture must not be guessed at;
a truncated file is refused for the same reason.
"""

import gzip
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from engine.clock import NS_PER_MS
from engine.errors import FeedError

VENUES = {"spot": "binance_spot", "usdm": "binance_usdm", "cm": "binance_coinm"}

Columns = dict[str, list[Any]]


class _Data(msgspec.Struct):
    """The fields of a trade or a bookTicker; what a message does not carry is None. Prices are text on the wire."""

    s: str
    T: int | None = None
    E: int | None = None
    t: int | None = None
    u: int | None = None
    p: str | None = None
    q: str | None = None
    m: bool | None = None
    b: str | None = None
    B: str | None = None
    a: str | None = None
    A: str | None = None


class _Message(msgspec.Struct):
    stream: str
    data: _Data


_DECODER = msgspec.json.Decoder(_Message)


def is_raw(folder: Path) -> bool:
    """Whether a folder holds raw captures."""
    return any(True for _ in _files(folder))


def read_raw(folder: Path) -> tuple[pa.Table, pa.Table]:
    """Return (trades, quotes) with the columns of a normalised set. Raises FeedError naming file and line."""
    trades: Columns = defaultdict(list)
    books: Columns = defaultdict(list)
    for path in _files(folder):
        venue = VENUES[path.name.split("__")[0]]
        for received_ns, data, kind in _messages(path):
            table = trades if kind == "trade" else books
            stamp = {"exchange": venue, "symbol": data.s, "recv_ns": received_ns}
            for name, value in (stamp | (_trade(data) if kind == "trade" else _book(data))).items():
                table[name].append(value)
    if not trades or not books:
        raise FeedError(f"feed {folder}: the captures hold no trades or no best quotes")
    offsets = _median_offsets(trades)
    return pa.table(_with_times(trades, "trade_ts_ns", offsets)), pa.table(_with_times(books, "tx_ts_ns", offsets))


def _files(folder: Path) -> Iterator[Path]:
    """Captures in order of instrument and day."""
    yield from (path for path in sorted(folder.glob("*__*.gz")) if path.name.split("__")[0] in VENUES)


def _messages(path: Path) -> Iterator[tuple[int, _Data, str]]:
    number = 0
    try:
        with gzip.open(path, "rb") as lines:
            for line in lines:
                number += 1
                kind = "trade" if b"@trade" in line[:80] else "book" if b"@bookTicker" in line[:80] else ""
                if kind:
                    received, _, body = line.partition(b" ")
                    yield int(received), _DECODER.decode(body).data, kind
    except (EOFError, OSError, zlib.error) as error:
        raise FeedError(f"feed {path}: the file is truncated or damaged after line {number} ({error})") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise FeedError(f"feed {path}: line {number} is not a message of a combined stream ({error})") from error


def _trade(data: _Data) -> dict[str, Any]:
    """Binance's `m` says that the buyer was the maker: then the aggressor sold."""
    return {
        "event_ms": data.E, "match_ms": data.T, "trade_id": str(data.t), "price": float(data.p or "nan"),
        "qty": float(data.q or "nan"), "aggressor": "sell" if data.m else "buy",
    }  # fmt: skip


def _book(data: _Data) -> dict[str, Any]:
    return {
        "event_ms": data.E, "match_ms": data.T, "update_id": data.u,
        "bid_px": float(data.b or "nan"), "bid_qty": float(data.B or "nan"),
        "ask_px": float(data.a or "nan"), "ask_qty": float(data.A or "nan"),
    }  # fmt: skip


def _with_times(columns: Columns, matching: str, offsets: dict[str, int]) -> Columns:
    """Event times in ns. Spot quotes carry none: they get the receive time moved by their venue's offset."""
    rows = zip(columns["exchange"], columns["recv_ns"], columns.pop("event_ms"), strict=True)
    columns["ts_ns"] = [
        event_ms * NS_PER_MS if event_ms is not None else received_ns + offsets[venue]
        for venue, received_ns, event_ms in rows
    ]
    columns[matching] = [None if ms is None else ms * NS_PER_MS for ms in columns.pop("match_ms")]
    return columns


def _median_offsets(columns: Columns) -> dict[str, int]:
    """Median of event time minus receive time of each venue's trades, which always carry an event time."""
    gaps: dict[str, list[int]] = defaultdict(list)
    for venue, received_ns, event_ms in zip(columns["exchange"], columns["recv_ns"], columns["event_ms"], strict=True):
        if event_ms is not None:
            gaps[venue].append(event_ms * NS_PER_MS - received_ns)
    medians = {venue: sorted(found)[len(found) // 2] for venue, found in gaps.items()}
    return dict.fromkeys(VENUES.values(), 0) | medians
