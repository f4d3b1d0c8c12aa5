"""Limits that hold whatever the parameters say.

They are the four of Article 8 of Commission Delegated Regulation (EU) 2017/589 (RTS 6): number of
instruments, price, value and number of orders, positions, number of venues. They come from a file
of their own, and no candidate can change them. There are no defaults.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from engine.strategy.layout import CAPS, MAX_ORDERS
from engine.strategy.params_parts import STRICT, require

ANY = "*"
FOUR = ("instruments", "orders", "positions", "venues")
"""The caps that must all be given."""

_INSTRUMENT = re.compile(r"^(?:\*|[A-Z0-9_]{2,24}(?:\.[a-z][a-z0-9_]{1,23})?)$")
_VENUE = re.compile(r"^(?:\*|[a-z][a-z0-9_]{1,23})$")


@dataclass(frozen=True, slots=True)
class OrderCaps:
    """Per instrument: value of one order, orders within any minute, distance of a fill from the mid."""

    max_value_usd: float
    max_per_min: int
    max_price_deviation_bps: float
    __pydantic_config__: ClassVar = STRICT

    def __post_init__(self) -> None:
        require(self.max_value_usd > 0, "orders.max_value_usd", "> 0", self.max_value_usd)
        require(1 <= self.max_per_min <= MAX_ORDERS, "orders.max_per_min", f"in [1, {MAX_ORDERS}]", self.max_per_min)
        deviation = self.max_price_deviation_bps
        require(deviation > 0, "orders.max_price_deviation_bps", "> 0", deviation)


@dataclass(frozen=True, slots=True)
class PositionCaps:
    """Per instrument: value of the position, either way."""

    max_usd: float
    __pydantic_config__: ClassVar = STRICT

    def __post_init__(self) -> None:
        require(self.max_usd > 0, "positions.max_usd", "> 0", self.max_usd)


@dataclass(frozen=True, slots=True)
class Caps:
    """The four. `instruments` are tickers or `TICKER.venue`; `*` stands for any instrument or venue."""

    instruments: tuple[str, ...]
    orders: OrderCaps
    positions: PositionCaps
    venues: tuple[str, ...]
    __pydantic_config__: ClassVar = STRICT

    def __post_init__(self) -> None:
        for field, pattern in (("instruments", _INSTRUMENT), ("venues", _VENUE)):
            names: tuple[str, ...] = getattr(self, field)
            require(bool(names), field, "a list of at least one name", list(names))
            for name in names:
                require(pattern.fullmatch(name) is not None, field, "a list of names or *", repr(name))

    def allows(self, symbol: str) -> bool:
        """Whether orders in a `TICKER.venue` may be placed at all."""
        ticker, _, venue = symbol.partition(".")
        listed = not {ANY, ticker, symbol}.isdisjoint(self.instruments)
        return listed and not {ANY, venue}.isdisjoint(self.venues)


def cap_rows(caps: Caps, symbols: Sequence[str]) -> NDArray[np.void]:
    """Return the caps of each symbol, dtype CAPS, shape (n_symbols,)."""
    rows = np.empty(len(symbols), CAPS)
    rows["is_tradable"] = [caps.allows(symbol) for symbol in symbols]
    rows["max_price_deviation_bps"] = caps.orders.max_price_deviation_bps
    rows["max_order_value_usd"] = caps.orders.max_value_usd
    rows["max_orders_per_min"] = caps.orders.max_per_min
    rows["max_position_usd"] = caps.positions.max_usd
    return rows
