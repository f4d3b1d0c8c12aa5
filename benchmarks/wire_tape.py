"""What a wire server plays: recorded messages of Binance's combined streams, or made-up ones of the same shape."""

import gzip
import json
import random
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from engine.clock import NS_PER_MS

START_NS = 1_735_689_600_000_000_000
"""Receive time of the first made-up message: 2025-01-01T00:00:00Z."""

MESSAGE_NS = 1_250_000
"""Distance of made-up messages: 800 a second, the mean of set A."""

_TIMES = re.compile(rb'"([ET])":(\d{13})')

Instrument = tuple[str, str]
"""Market (`spot`, `usdm`, `cm`) and ticker."""


class WireMessage(NamedTuple):
    """One message: when it was received, ns; where it belongs; its bytes as they were."""

    at_ns: int
    instrument: Instrument
    stream: str
    text: bytes


@dataclass(frozen=True)
class Faults:
    """What goes wrong, by number of the message on the tape, from 0.

    `disconnect`: all clients are thrown out before it, and `lose` messages pass before they may return.
    `drop`: not sent. `duplicate`: sent twice. `inject`: these texts are sent before it. `stall`: silence from
    there until every client has connected again. `mute`: nothing of a stream is sent from that message on, until a
    client has connected again. `time_failures`: so many requests for the time are refused before one is answered.
    """

    disconnect: tuple[int, ...] = ()
    lose: int = 0
    drop: tuple[int, ...] = ()
    duplicate: tuple[int, ...] = ()
    inject: dict[int, list[str]] = field(default_factory=dict)
    stall: int | None = None
    mute: dict[str, int] = field(default_factory=dict)
    time_failures: int = 0


@dataclass(frozen=True)
class WireSpec:
    """How a tape is played.

    `folder`: raw captures, or None for a made-up tape of `limit` messages. `speed`: times the recorded pace, 0 for
    as fast as the clients read; `rate`: messages a second instead. `clients`: connections to wait for before the
    start and after a disconnect. `retime`: E becomes the time of sending, T keeps its distance. `skew_s`: how far the
    venue's clock, which retimes and answers requests for the time, is ahead of this machine's. `send_log`: file that
    gets the time of each sending, int64 ns of SystemClock.mono_ns, in the order in which one client receives.
    """

    folder: str | None = None
    limit: int | None = None
    markets: tuple[str, ...] = ("spot", "usdm", "cm")
    streams: tuple[str, ...] = ("trade", "bookTicker", "depth")
    seed: int = 1
    speed: float = 0.0
    rate: float = 0.0
    clients: int = 1
    retime: bool = False
    skew_s: float = 0.0
    send_log: str | None = None
    faults: Faults = field(default_factory=Faults)


@dataclass(frozen=True)
class Tape:
    """Messages of all instruments in order of receipt, and one REST snapshot of each that has a book."""

    messages: list[WireMessage]
    snapshots: dict[Instrument, bytes]


def read_tape(folder: Path, markets: tuple[str, ...] = ("spot", "usdm", "cm"), limit: int | None = None) -> Tape:
    """Read raw captures (`<market>__<symbol>_<date>.gz`, lines `<recv_ns> <json>`), merged by receive time."""
    messages: list[WireMessage] = []
    snapshots: dict[Instrument, bytes] = {}
    for path in sorted(folder.glob("*__*.gz")):
        market, _, rest = path.name.partition("__")
        instrument = (market, rest.rpartition("_")[0].upper())
        if market not in markets:
            continue
        with gzip.open(path, "rb") as lines:
            for line in lines:
                received, _, text = line.rstrip(b"\n").partition(b" ")
                if text.startswith(b'{"stream":"'):
                    stream = text[11 : text.index(b'"', 11)].decode()
                    messages.append(WireMessage(int(received), instrument, stream, text))
                else:
                    snapshots.setdefault(instrument, text)
    messages.sort(key=lambda message: message.at_ns)
    return Tape(messages[:limit], snapshots)


def make_tape(count: int, seed: int, instruments: tuple[Instrument, ...] = (("usdm", "BTCUSDT"),)) -> Tape:
    """Make up `count` messages: two best quotes, one trade and one depth change in turn, of a random instrument."""
    dice = random.Random(seed)
    makers = {instrument: _Maker(instrument, dice) for instrument in instruments}
    snapshots = {instrument: maker.snapshot() for instrument, maker in makers.items()}
    messages = []
    for number in range(count):
        instrument = dice.choice(instruments)
        stream, text = makers[instrument].message(("bookTicker", "trade", "bookTicker", "depth")[number % 4], number)
        messages.append(WireMessage(START_NS + number * MESSAGE_NS, instrument, stream, text))
    return Tape(messages, snapshots)


def retimed(text: bytes, now_ns: int) -> bytes:
    """A message whose E is the given time; T, if it has one, keeps its distance."""
    times = dict(_TIMES.findall(text))
    now_ms = now_ns // NS_PER_MS
    lag_ms = int(times[b"E"]) - int(times[b"T"]) if len(times) == 2 else 0
    stamped = {b"E": now_ms, b"T": now_ms - lag_ms}
    return _TIMES.sub(lambda found: b'"%b":%d' % (found[1], stamped[found[1]]), text)


def open_tape(spec: WireSpec) -> Tape:
    """The tape that a specification names, with only its streams."""
    tape = make_tape(spec.limit or 10_000, spec.seed) if spec.folder is None else None
    tape = tape or read_tape(Path(spec.folder or ""), spec.markets)
    wanted = [message for message in tape.messages if message.stream.split("@")[1] in spec.streams]
    return Tape(wanted[: spec.limit], tape.snapshots)


class _Maker:
    """A random walk of one instrument, in the venue's words."""

    def __init__(self, instrument: Instrument, dice: random.Random) -> None:
        self._market, self._ticker = instrument
        self._dice = dice
        self._mid = 100_000  # tenths
        self._update_id = 1_000
        self._depth_id = self._update_id
        self._trade_id = 500

    def snapshot(self) -> bytes:
        bids = [[_price(self._mid - 1 - n), "1.500"] for n in range(50)]
        asks = [[_price(self._mid + 1 + n), "1.500"] for n in range(50)]
        return _json({"lastUpdateId": self._update_id, "bids": bids, "asks": asks})

    def message(self, kind: str, number: int) -> tuple[str, bytes]:
        self._mid += self._dice.choice((-1, 0, 0, 1))
        self._update_id += 1 + (self._dice.randrange(5) if self._market != "spot" else 0)
        ms = START_NS // 1_000_000 + number * MESSAGE_NS // 1_000_000
        data = {"bookTicker": self._quote, "trade": self._trade, "depth": self._depth}[kind](ms)
        name = {"depth": "depth@100ms"}.get(kind, kind)
        stream = f"{self._ticker.lower()}@{name}"
        return stream, _json({"stream": stream, "data": data})

    def _quote(self, ms: int) -> dict[str, Any]:
        bid, ask = _price(self._mid - 1), _price(self._mid + 1)
        quote = {"u": self._update_id, "s": self._ticker, "b": bid, "B": self._qty(), "a": ask, "A": self._qty()}
        if self._market == "spot":
            return quote
        return {"e": "bookTicker", **quote, "T": ms, "E": ms}

    def _trade(self, ms: int) -> dict[str, Any]:
        self._trade_id += 1
        sells = self._dice.random() < 0.5
        price = _price(self._mid - 1 if sells else self._mid + 1)
        trade = {"e": "trade", "E": ms, "T": ms, "s": self._ticker, "t": self._trade_id, "p": price, "q": self._qty()}
        return {**trade, **({"M": True} if self._market == "spot" else {"X": "MARKET"}), "m": sells}

    def _depth(self, ms: int) -> dict[str, Any]:
        before, self._depth_id = self._depth_id, self._update_id
        changed = [[_price(self._mid - 1 - self._dice.randrange(20)), self._qty()] for _ in range(4)]
        diff = {"e": "depthUpdate", "E": ms, "s": self._ticker, "U": before + 1, "u": self._update_id}
        if self._market != "spot":
            diff |= {"T": ms, "pu": before}
        return {**diff, "b": changed, "a": [[_price(self._mid + 1), self._qty()]]}

    def _qty(self) -> str:
        return f"{self._dice.randrange(1, 9_999) / 1000:.3f}"


def _price(tenths: int) -> str:
    return f"{tenths // 10}.{tenths % 10}0"


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class TapeBook:
    """The book of one instrument at any place of a tape, as the REST snapshot that the venue would give there."""

    def __init__(self, snapshot: bytes, diffs: list[tuple[int, bytes]]) -> None:
        self._body = snapshot
        start = json.loads(snapshot)
        self.last_id: int = start["lastUpdateId"]
        self._sides: dict[str, dict[str, str]] = {side: dict(start[name]) for side, name in _SIDES}
        self._diffs = diffs
        self._next = 0

    def at(self, place: int) -> bytes:
        """The snapshot after every change that stands before `place` on the tape. Places must not go back."""
        is_changed = False
        while self._next < len(self._diffs) and self._diffs[self._next][0] < place:
            diff = json.loads(self._diffs[self._next][1])["data"]
            self._next += 1
            if diff["u"] > self.last_id:
                self._apply(diff)
                is_changed = True
        if is_changed:
            self._body = self._encode()
        return self._body

    def _apply(self, diff: dict[str, Any]) -> None:
        self.last_id = diff["u"]
        for side, _ in _SIDES:
            for price, qty in diff[side]:
                self._sides[side].pop(price, None) if float(qty) == 0.0 else self._sides[side].update({price: qty})

    def _encode(self) -> bytes:
        body: dict[str, Any] = {"lastUpdateId": self.last_id}
        for side, name in _SIDES:
            ordered = sorted(self._sides[side].items(), key=lambda level: float(level[0]), reverse=side == "b")
            body[name] = [list(level) for level in ordered[:1000]]
        return _json(body)


_SIDES = (("b", "bids"), ("a", "asks"))
