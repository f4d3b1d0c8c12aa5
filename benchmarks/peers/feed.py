"""How a stream is handed to a peer: one .npz file, and the peers' own kinds of event made from it."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.strategy.events import Events
from engine.strategy.layout import QUOTE, TRADE

INSTRUMENT = np.dtype([("symbol", "U32"), ("price_digits", "i8"), ("qty_digits", "i8")])
"""One instrument: its tick is 10^-price_digits, its lot 10^-qty_digits."""

HFT_EVENT = np.dtype(
    [
        ("ev", "u8"), ("exch_ts", "i8"), ("local_ts", "i8"), ("px", "f8"), ("qty", "f8"),
        ("order_id", "u8"), ("ival", "i8"), ("fval", "f8"),
    ],
    align=True,
)  # fmt: skip
"""hftbacktest's event, as its `types.py` defines it; the peer checks that this is still so."""

DEPTH, EXECUTION = 1, 2
BUY, SELL = 1 << 29, 1 << 28
EVERYWHERE = (1 << 31) | (1 << 30)
"""Seen by hftbacktest's exchange model and by the strategy, as its recorded feeds are."""


def save(path: Path, instruments: NDArray[Any], stream: dict[str, Events]) -> None:
    """Write instruments (dtype INSTRUMENT) and their events, in the same order."""
    arrays: dict[str, Any] = {f"events_{n}": stream[str(item["symbol"])] for n, item in enumerate(instruments)}
    np.savez(path, instruments=instruments, **arrays)


def load(path: Path) -> list[tuple[Any, Events]]:
    """Return every instrument with its events."""
    with np.load(path) as file:
        return [(item, file[f"events_{n}"]) for n, item in enumerate(file["instruments"])]


def hftbacktest_rows(events: Events) -> NDArray[Any]:
    """Return one symbol's feed for hftbacktest, in order, dtype HFT_EVENT.

    A trade is one row. A quote is a depth row for each side that changed, and one more that empties the old
    price where the price changed; all carry the quote's time, so that hftbacktest wakes once a quote.
    A rising ask is moved before the bid, else the bid first: the book never crosses on the way.
    """
    is_trade, is_quote = events["kind"] == TRADE, events["kind"] == QUOTE
    trades, quotes = events[is_trade], events[is_quote]
    places = np.arange(len(events), dtype=np.int64) * 4
    bid_first = np.concatenate([[True], quotes["c"][1:] <= quotes["c"][:-1]])
    at = places[is_quote]
    parts = [
        _rows(trades, trades["a"], trades["b"], EXECUTION | np.where(trades["c"] > 0, BUY, SELL), places[is_trade]),
        *_side(quotes, "a", "b", DEPTH | BUY, at + np.where(bid_first, 0, 2)),
        *_side(quotes, "c", "d", DEPTH | SELL, at + np.where(bid_first, 2, 0)),
    ]
    rows = np.concatenate([rows for rows, _ in parts])
    order = np.concatenate([place for _, place in parts])
    return rows[np.argsort(order, kind="stable")]


def _side(quotes: Events, price: str, qty: str, flags: int, at: NDArray[np.int64]) -> list[tuple[Any, Any]]:
    """Rows of one side of the book: what stands now, then the price that no longer does."""
    px, size = quotes[price], quotes[qty]
    moved = np.concatenate([[False], px[1:] != px[:-1]])
    changed = moved | np.concatenate([[True], size[1:] != size[:-1]])
    left = np.flatnonzero(moved)
    emptied = _rows(quotes[left], px[left - 1], np.zeros(len(left)), np.full(len(left), flags), at[left] + 1)
    return [
        _rows(quotes[changed], px[changed], size[changed], np.full(int(changed.sum()), flags), at[changed]),
        emptied,
    ]


def _rows(events: Events, px: Any, qty: Any, flags: Any, at: NDArray[np.int64]) -> tuple[Any, Any]:
    rows = np.zeros(len(events), HFT_EVENT)
    rows["ev"] = flags | EVERYWHERE
    rows["exch_ts"], rows["local_ts"] = events["ts_ns"], events["arrival_ns"]
    rows["px"], rows["qty"] = px, qty
    return rows, at
