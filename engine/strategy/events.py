"""What the market did: trades, best quotes and depth, and the instruments they belong to."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.strategy.layout import BIN_NS, EVENT, QUOTE, TRADE

BUYER = 1
SELLER = -1

TICK_NS = BIN_NS
"""Market time moves in ticks; slices end on them."""

Events = NDArray[np.void]
Levels = NDArray[np.float64]

_SYMBOL = re.compile(r"^[A-Z0-9_]{2,24}\.[a-z][a-z0-9_]{1,23}$")


def is_symbol(text: str) -> bool:
    """Whether `text` names an instrument as `TICKER.venue`, for example `ETHUSDT.binance_usdm`."""
    return _SYMBOL.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Instrument:
    """One tradable: `symbol` is `TICKER.venue`.

    `contract_usd` is the face value of one inverse (coin-margined) contract in USD, None where quantity
    is in units of the base currency. Volume is summed in lots of 1 / `lots_per_unit`, exactly.
    """

    symbol: str
    contract_usd: float | None = None
    lots_per_unit: float = 1e8

    @property
    def ticker(self) -> str:
        return self.symbol.split(".")[0]

    @property
    def venue(self) -> str:
        return self.symbol.split(".")[1]


@dataclass(frozen=True, slots=True)
class Trade:
    """One fill. `aggressor` is BUYER (+1) or SELLER (-1): the side that crossed the spread.

    Binance's flag `m` ("buyer is the maker") true means the aggressor sold.
    `trade_id` rises by one per fill; -1 where the recording has none.
    """

    ts_event_ns: int
    price: float
    qty: float
    aggressor: int
    trade_id: int = -1


@dataclass(frozen=True, slots=True)
class BookTop:
    """Best bid and offer after a change. `update_id` rises; -1 where the recording has none."""

    ts_event_ns: int
    bid_px: float
    bid_qty: float
    ask_px: float
    ask_qty: float
    update_id: int = -1


Event = Trade | BookTop


def no_levels() -> Levels:
    """The level array of a batch without depth."""
    return np.zeros((0, 2))


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Events of one symbol in arrival order: `events` of dtype layout.EVENT, `levels` float64 (n, 2)."""

    events: Events
    levels: Levels = field(default_factory=no_levels)

    @classmethod
    def of(cls, events: Sequence[Event], arrival_ns: int | None = None) -> "EventBatch":
        """Pack events that all arrived at `arrival_ns`, or each at its own time where that is None."""
        rows = [_row(event, event.ts_event_ns if arrival_ns is None else arrival_ns) for event in events]
        return cls(np.array(rows, EVENT))

    def __len__(self) -> int:
        return len(self.events)


@dataclass(frozen=True, slots=True)
class Slice:
    """What arrived after `from_ns` and up to `clock_ns`, both on ticks, per symbol. Slices are cut in market
    time; how long they are changes nothing in what comes out."""

    from_ns: int
    clock_ns: int
    batches: Mapping[str, EventBatch]


def _row(event: Event, arrival_ns: int) -> tuple[Any, ...]:
    match event:
        case Trade(ts, price, qty, aggressor, trade_id):
            return (TRADE, arrival_ns, ts, trade_id, price, qty, float(aggressor), 0.0)
        case BookTop(ts, bid_px, bid_qty, ask_px, ask_qty, update_id):
            return (QUOTE, arrival_ns, ts, update_id, bid_px, bid_qty, ask_px, ask_qty)
