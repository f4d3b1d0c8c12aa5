"""What the market did: trades and best quotes, and the instruments they belong to."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

BUYER = 1
SELLER = -1

TRADE = 0
BOOK = 1

_SYMBOL = re.compile(r"^[A-Z0-9_]{2,24}\.[a-z][a-z0-9_]{1,23}$")


def is_symbol(text: str) -> bool:
    """Whether `text` names an instrument as `TICKER.venue`, for example `ETHUSDT.binance_usdm`."""
    return _SYMBOL.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Instrument:
    """One tradable: `symbol` is `TICKER.venue`.

    `contract_usd` is the face value of one inverse (coin-margined) contract in USD,
    None where quantity is in units of the base currency.
    """

    symbol: str
    contract_usd: float | None = None

    def notional_usd(self, price: float, qty: float) -> float:
        """Value of a trade in quote currency (USD)."""
        return price * qty if self.contract_usd is None else qty * self.contract_usd


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
    """Best bid and offer after a change."""

    ts_event_ns: int
    bid_px: float
    bid_qty: float
    ask_px: float
    ask_qty: float


Event = Trade | BookTop

Row = tuple[int, int, float, float, float, float, int]


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Events of one symbol in arrival order, one row each.

    A row is `(kind, ts_event_ns, a, b, c, d, trade_id)`: a trade carries price, qty,
    aggressor in a, b, c; a book top carries bid_px, bid_qty, ask_px, ask_qty.
    """

    rows: Sequence[Row]

    @classmethod
    def of(cls, events: Sequence[Event]) -> "EventBatch":
        return cls([_row(event) for event in events])

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Slice:
    """What arrived up to `clock_ns`, per symbol. Slices are cut in market time, so the
    outputs do not depend on how fast they are played."""

    clock_ns: int
    batches: dict[str, EventBatch]


def _row(event: Event) -> Row:
    match event:
        case Trade(ts, price, qty, aggressor, trade_id):
            return (TRADE, ts, price, qty, float(aggressor), 0.0, trade_id)
        case BookTop(ts, bid_px, bid_qty, ask_px, ask_qty):
            return (BOOK, ts, bid_px, bid_qty, ask_px, ask_qty, -1)


def is_sound_trade(price: float, qty: float, aggressor: float) -> bool:
    """Whether price and quantity are finite and positive and the side is known."""
    return 0.0 < price < math.inf and 0.0 < qty < math.inf and aggressor in (BUYER, SELLER)


def is_sound_book(bid_px: float, bid_qty: float, ask_px: float, ask_qty: float) -> bool:
    """Whether all four numbers are finite and positive. A crossed book is sound but not usable."""
    return 0.0 < bid_px < math.inf and 0.0 < bid_qty < math.inf and 0.0 < ask_px < math.inf and 0.0 < ask_qty < math.inf
