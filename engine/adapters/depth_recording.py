"""Recorded order books: the depth messages of a folder, in sequence, as the events that kernels fold.

Reads normalised Parquet (`l2_updates.parquet`, and from `l2_snapshots.parquet` what is not in it), or raw captures
(see `raw_capture.py`) where there is none.

- Snapshots and changes are put in sequence as the live feed does it (`engine.strategy.sync`). What
  cannot be applied is left out; where the sequence breaks there is a GAP event.
- Events carry matching time T where the venue gives one, else event time E; a snapshot with neither, its arrival.
- Arrival is the recorder's clock moved by the median of event time minus receive time over all messages,
  and never before that of an event which had to be applied first.
- Column `capture` names separate recordings in one table: the start of another is a disconnect.
"""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from engine.adapters.depth_tables import MESSAGE, UNKNOWN, Floats, Recorded, Records, has_tables, read_tables
from engine.adapters.raw_capture import VENUES
from engine.clock import NS_PER_MS
from engine.errors import FeedError
from engine.strategy.events import is_symbol
from engine.strategy.layout import DEPTH, EVENT, GAP
from engine.strategy.sync import Apply, DepthSync, Lost, SequenceRule

RULES = {"spot": SequenceRule.SPOT, "usdm": SequenceRule.FUTURES, "coinm": SequenceRule.FUTURES}
"""Sequence rule by market type, the last part of a venue's name."""


@dataclass(frozen=True, slots=True)
class RecordedDepth:
    """One symbol's depth. `events` are DEPTH and GAP events, EVENT[n], in arrival order; `levels` is float64[m, 2].

    `duplicates` counts changes that came again, `dropped` those that waited for a snapshot and were
    older than it, or that none ever came for.
    """

    events: Records
    levels: Floats
    duplicates: int
    dropped: int


def read_depth(folder: Path) -> dict[str, RecordedDepth]:
    """Return the depth of each symbol (`BTCUSDT.binance_usdm`), by name; none where the folder has no depth.

    Raises FeedError naming the file and what is wrong with it.
    """
    recorded = read_tables(folder) if has_tables(folder) else _read_captures(folder)
    known = [one.messages[one.messages["event_ns"] != UNKNOWN] for one in recorded.values()]
    gaps = [messages["event_ns"] - messages["recv_ns"] for messages in known]
    offset_ns = np.int64(np.median(np.concatenate(gaps))) if any(map(len, gaps)) else np.int64(0)
    for symbol in recorded:
        if not is_symbol(symbol) or _market(symbol) not in RULES:
            raise FeedError(f"feed {folder}: depth of {symbol!r}: only markets {', '.join(RULES)} have a sequence rule")
    return {symbol: _in_sequence(RULES[_market(symbol)], recorded[symbol], offset_ns) for symbol in sorted(recorded)}


def _market(symbol: str) -> str:
    return symbol.rpartition("_")[2]


def _in_sequence(rule: SequenceRule, recorded: Recorded, offset_ns: np.int64) -> RecordedDepth:
    messages = recorded.messages
    sync: DepthSync[int] = DepthSync(rule)
    steps = np.array(list(_steps(sync, messages)), np.int64).reshape(-1, 2)
    sync.on_disconnect()  # what still waits when the recording ends is dropped
    chosen, is_gap = messages[steps[:, 0]], steps[:, 1] == GAP
    events = np.zeros(len(chosen), EVENT)
    events["kind"] = steps[:, 1]
    events["arrival_ns"] = np.maximum.accumulate(chosen["recv_ns"] + offset_ns)
    events["ts_ns"] = np.select(
        [chosen["match_ns"] != UNKNOWN, chosen["event_ns"] != UNKNOWN],
        [chosen["match_ns"], chosen["event_ns"]],
        events["arrival_ns"],
    )
    events["id"] = np.where(is_gap, -1, chosen["last_id"])
    for field, name in zip("abcd", ("row", "bids", "asks", "is_snapshot"), strict=True):
        events[field] = np.where(is_gap, 0, chosen[name])
    return RecordedDepth(events, recorded.levels, sync.duplicates, sync.dropped)


def _steps(sync: DepthSync[int], messages: Records) -> Iterator[tuple[int, int]]:
    """What may be applied: (message number, DEPTH), or (number of the message that showed it, GAP)."""
    names = ("is_snapshot", "first_id", "last_id", "prev_id", "capture")
    before = int(messages["capture"][0])
    for number, row in enumerate(zip(*(messages[name].tolist() for name in names), strict=True)):
        is_snapshot, first_id, last_id, prev_id, capture = row
        steps: list[Apply[int] | Lost] = sync.on_disconnect() if capture != before else []
        if is_snapshot:
            steps += sync.on_snapshot(last_id, number)
        else:
            steps += sync.on_diff(first_id, last_id, None if prev_id == UNKNOWN else prev_id, number)
        before = capture
        for step in steps:
            yield (number, GAP) if isinstance(step, Lost) else (step.payload, DEPTH)


# Raw captures: one line per message


_Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Ms = Annotated[int, msgspec.Meta(ge=0, lt=2**43)]  # nanoseconds of it fit into 64 bits
_Side = list[tuple[float, float]]


class _Diff(msgspec.Struct):
    """A change of depth. Times are milliseconds; prices and quantities are text on the wire."""

    E: _Ms
    U: _Id
    u: _Id
    b: _Side
    a: _Side
    T: _Ms | None = None
    pu: _Id | None = None


class _Combined(msgspec.Struct):
    data: _Diff


class _Snapshot(msgspec.Struct):
    """A REST answer, which spot gives without times."""

    lastUpdateId: _Id
    bids: _Side
    asks: _Side
    E: _Ms | None = None
    T: _Ms | None = None


_DIFFS = msgspec.json.Decoder(_Combined, strict=False)
_REST = msgspec.json.Decoder(_Snapshot, strict=False)


def _read_captures(folder: Path) -> dict[str, Recorded]:
    rows: dict[str, list[tuple[int, ...]]] = {}
    levels: dict[str, list[Floats]] = {}
    for path in sorted(folder.glob("*__*.gz")):
        market, _, rest = path.name.partition("__")
        if market in VENUES:
            symbol = f"{rest.rpartition('_')[0].upper()}.{VENUES[market]}"
            _read_capture(path, rows.setdefault(symbol, []), levels.setdefault(symbol, []))
    return {
        symbol: Recorded(np.array(found, MESSAGE), np.concatenate(levels[symbol]))
        for symbol, found in rows.items()
        if found
    }


def _read_capture(path: Path, rows: list[tuple[int, ...]], levels: list[Floats]) -> None:
    """Add one file's messages and levels to those of its symbol. Raises FeedError naming file and line."""
    first = sum(map(len, levels))
    sides: list[_Side] = []
    number = 0
    try:
        with gzip.open(path, "rb") as lines:
            for line in lines:
                number += 1
                received, _, body = line.partition(b" ")
                message = _decode(body)
                if message is None:
                    continue
                row, bids, asks = message
                rows.append((*row, _stamp(received), 0, first, len(bids), len(asks)))
                sides += (bids, asks)
                first += len(bids) + len(asks)
    except (EOFError, OSError, zlib.error) as error:
        raise FeedError(f"feed {path}: the file is truncated or damaged after line {number} ({error})") from error
    except (msgspec.DecodeError, ValueError, OverflowError) as error:
        raise FeedError(f"feed {path}: line {number} is not a depth message ({error})") from error
    flat = np.fromiter(chain.from_iterable(chain.from_iterable(sides)), np.float64)
    levels.append(flat.reshape(-1, 2))


def _decode(body: bytes) -> tuple[tuple[int, ...], _Side, _Side] | None:
    """Fields of MESSAGE up to the matching time, bids, asks; None for what is not depth."""
    if b"@depth" in body[:80]:
        diff = _DIFFS.decode(body).data
        previous = UNKNOWN if diff.pu is None else diff.pu
        return (0, diff.U, diff.u, previous, _ns(diff.E), _ns(diff.T)), diff.b, diff.a
    if body.startswith(b'{"lastUpdateId"'):
        rest = _REST.decode(body)
        last = rest.lastUpdateId
        return (1, last, last, UNKNOWN, _ns(rest.E), _ns(rest.T)), rest.bids, rest.asks
    return None


def _ns(ms: int | None) -> int:
    return UNKNOWN if ms is None else ms * NS_PER_MS


def _stamp(received: bytes) -> int:
    """Receive time in ns. Raises OverflowError where it does not fit into 64 bits."""
    return int(np.int64(int(received)))
