"""What a live feed listens to, and how patient it is."""

from dataclasses import dataclass

from engine.adapters.raw_capture import VENUES
from engine.adapters.replay import contract_usd
from engine.errors import InputError
from engine.strategy.events import Instrument, is_symbol

TRADES = ("trade", "aggTrade")
STREAMS_PER_CONNECTION = 200
"""Binance allows 1,024; fewer keeps the request line short and one broken connection small."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a market is reached. `aggregates` serves aggTrade, `streams` the rest; `depth_path` is the REST snapshot,
    `time_path` the venue's clock.

    USD-M has separate entries for high-frequency and for regular data since 2026-04-23 ("Important WebSocket
    Change Notice", developers.binance.com): trade, bookTicker and depth are public, aggTrade is market.
    """

    streams: str
    aggregates: str
    rest: str
    depth_path: str
    time_path: str


ENDPOINTS = {
    "spot": Endpoint(
        "wss://stream.binance.com:9443",
        "wss://stream.binance.com:9443",
        "https://api.binance.com",
        "/api/v3/depth",
        "/api/v3/time",
    ),
    "usdm": Endpoint(
        "wss://fstream.binance.com/public",
        "wss://fstream.binance.com/market",
        "https://fapi.binance.com",
        "/fapi/v1/depth",
        "/fapi/v1/time",
    ),
    "cm": Endpoint(
        "wss://dstream.binance.com",
        "wss://dstream.binance.com",
        "https://dapi.binance.com",
        "/dapi/v1/depth",
        "/dapi/v1/time",
    ),
}


@dataclass(frozen=True)
class MarketSpec:
    """Instruments of one market: `spot`, `usdm` or `cm`.

    `trades` is "trade" (each fill) or "aggTrade" (fills of one taker at one price, merged). `depth` is the
    update speed of the book, such as "100ms", or None for no book. Base addresses are Binance's unless given.
    """

    market: str
    tickers: tuple[str, ...]
    trades: str = "trade"
    depth: str | None = "100ms"
    ws_url: str | None = None
    rest_url: str | None = None

    @property
    def quotes_base(self) -> str:
        """Where best quotes and depth are streamed."""
        return self.ws_url or ENDPOINTS[self.market].streams

    @property
    def trades_base(self) -> str:
        """Where trades are streamed."""
        endpoint = ENDPOINTS[self.market]
        return self.ws_url or (endpoint.aggregates if self.trades == "aggTrade" else endpoint.streams)

    @property
    def rest_base(self) -> str:
        """Where snapshots are fetched."""
        return self.rest_url or ENDPOINTS[self.market].rest

    @property
    def time_url(self) -> str | None:
        """Where the venue tells its time; None where streams have another address and REST has none."""
        return self.rest_base + ENDPOINTS[self.market].time_path if self.rest_url or not self.ws_url else None


@dataclass(frozen=True)
class LiveSpec:
    """A live feed, as JSON can say it.

    A connection is replaced `rotate_s` after it opened (the venue closes it at 24 h): the new one is open
    `overlap_s` before the old one goes. Silence of `stall_s` counts as a broken connection; a single stream may be
    silent for longer (`silence.py`). Waits between attempts double from `backoff_first_s` to `backoff_cap_s`.
    """

    markets: tuple[MarketSpec, ...]
    stall_s: float = 20.0
    rotate_s: float = 23 * 3600.0
    overlap_s: float = 2.0
    backoff_first_s: float = 0.5
    backoff_cap_s: float = 30.0
    snapshot_timeout_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Listed:
    """One instrument on the wire: `market` and `ticker` as Binance names them, `symbol` as Graygate does."""

    market: str
    ticker: str

    @property
    def symbol(self) -> str:
        return f"{self.ticker}.{VENUES[self.market]}"

    @property
    def instrument(self) -> Instrument:
        """The tradable, with the face value of an inverse contract."""
        return Instrument(self.symbol, contract_usd(self.symbol))

    def stream(self, name: str) -> str:
        """Name of one of its streams, such as `btcusdt@trade`."""
        return f"{self.ticker.lower()}@{name}"


def listed(spec: LiveSpec) -> list[Listed]:
    """Every instrument of a specification, in its order. Raises InputError where one cannot be asked for."""
    found: list[Listed] = []
    for market in spec.markets:
        if market.market not in ENDPOINTS:
            raise InputError(f"market must be one of {', '.join(ENDPOINTS)}, was {market.market!r}")
        if market.trades not in TRADES:
            raise InputError(f"trades must be one of {', '.join(TRADES)}, was {market.trades!r}")
        for ticker in market.tickers:
            one = Listed(market.market, ticker)
            if not is_symbol(one.symbol):
                raise InputError(f"{ticker!r} is not a ticker: capital letters, digits and _, as in BTCUSDT")
            found.append(one)
    if not found:
        raise InputError("a live feed needs at least one instrument")
    if len(set(found)) < len(found):
        twice = next(one for one in found if found.count(one) > 1)
        raise InputError(f"{twice.symbol} is listed twice")
    return found
