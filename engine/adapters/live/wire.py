"""Binance's market messages: their types, and why one is refused.

A combined stream wraps each message: `{"stream": "btcusdt@trade", "data": {...}}`. Prices and quantities arrive
as text. The stream's name says which type `data` must have; spot's bookTicker carries no other hint. Times are
milliseconds.
"""

import sys
from enum import StrEnum
from typing import Annotated, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta

MAX_MESSAGE = 1_000_000
"""Bytes. The largest recorded message, a snapshot of 2,000 levels, has 64 kB."""

Positive = Annotated[float, Meta(gt=0.0, le=sys.float_info.max)]
NotNegative = Annotated[float, Meta(ge=0.0, le=sys.float_info.max)]
Id = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Ms = Annotated[int, Meta(gt=0, le=9_000_000_000_000)]
"""Milliseconds since the epoch that fit into 63 bits of nanoseconds."""


class Reason(StrEnum):
    """Why a message was refused."""

    TOO_LARGE = "too_large"
    NOT_TEXT = "not_text"
    MALFORMED = "malformed"
    SHAPE = "shape"
    NUMBER = "number"
    STREAM = "unknown_stream"
    SYMBOL = "unknown_symbol"


class Refused(Exception):
    """A message that must not be used."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Trade(msgspec.Struct, gc=False):
    """One fill. `m`: the buyer was the maker. `X` is set on futures: only MARKET is a trade of the market."""

    e: Literal["trade"]
    s: str
    t: Id
    p: Positive
    q: Positive
    T: Ms
    m: bool
    X: str = "MARKET"


class AggTrade(msgspec.Struct, gc=False):
    """All fills of one taker order at one price; `a` numbers them."""

    e: Literal["aggTrade"]
    s: str
    a: Id
    p: Positive
    q: Positive
    T: Ms
    m: bool


class BookTicker(msgspec.Struct, gc=False):
    """Best bid and ask. Spot gives neither `T` nor `E`: both are 0 then."""

    s: str
    u: Id
    b: Positive
    B: Positive
    a: Positive
    A: Positive
    e: Literal["bookTicker"] = "bookTicker"
    T: Ms = 0
    E: Ms = 0


class DepthUpdate(msgspec.Struct, gc=False):
    """Changes of a book: absolute quantities, 0 deletes. `pu` is set on futures, -1 else; `T` likewise, 0 else."""

    e: Literal["depthUpdate"]
    E: Ms
    s: str
    U: Id
    u: Id
    b: msgspec.Raw
    a: msgspec.Raw
    pu: Id = -1
    T: Ms = 0


class DepthSnapshot(msgspec.Struct, gc=False):
    """The REST answer: a whole book. It names no symbol on spot and USD-M, and no time on spot."""

    lastUpdateId: Id
    bids: msgspec.Raw
    asks: msgspec.Raw
    T: Ms = 0


M = TypeVar("M")


class Message(msgspec.Struct, Generic[M], gc=False):
    """A message whose stream is known already."""

    data: M


class Envelope(msgspec.Struct):
    """A message whose stream is not known yet."""

    stream: str
    data: msgspec.Raw


def reason_of(error: Exception) -> Reason:
    """Why decoding failed, from the error of msgspec."""
    if isinstance(error, Refused):
        return error.reason
    text = str(error)
    if "Number out of range" in text or any(sign in text for sign in ("` > ", "` >= ", "` <= ")):
        return Reason.NUMBER
    return Reason.SHAPE if isinstance(error, msgspec.ValidationError) else Reason.MALFORMED
