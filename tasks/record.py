"""Record a live market to raw captures, as the command line asks for it."""

import asyncio
import random
import re
import signal
from pathlib import Path

import uvloop
from rich.console import Console
from rich.status import Status

from engine.adapters.live.capture import Recorded, record
from engine.adapters.live.spec import LiveSpec, MarketSpec, listed
from engine.clock import Clock, SystemClock
from engine.errors import InputError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def duration_s(text: str) -> float:
    """Seconds of a duration such as 90s, 30m, 1h or 2d. Raises InputError."""
    found = _DURATION.fullmatch(text.strip())
    if found is None or float(found[1]) == 0.0:
        raise InputError(f"a duration is a number and s, m, h or d, as in 90s or 1h, was {text!r}")
    return float(found[1]) * _SECONDS[found[2]]


def live_spec(
    market: str,
    symbols: str,
    trades: str = "trade",
    depth: str | None = "100ms",
    ws_url: str | None = None,
    rest_url: str | None = None,
) -> LiveSpec:
    """Specification of one market from comma-separated tickers. Raises InputError."""
    tickers = tuple(ticker.strip().upper() for ticker in symbols.split(",") if ticker.strip())
    spec = LiveSpec((MarketSpec(market, tickers, trades, depth, ws_url, rest_url),))
    listed(spec)
    return spec


def record_command(
    spec: LiveSpec, out: Path, length: str | None, console: Console, clock: Clock | None = None
) -> Recorded:
    """Record until `length` is over or a signal says stop, with one line of progress.

    Raises InputError for a wrong specification or length, FeedError where nothing could be recorded.
    """
    seconds = duration_s(length) if length is not None else None
    with console.status("connecting ...") as status:
        recorded = uvloop.run(_record(spec, out, seconds, clock or SystemClock(), status))
    console.print(f"{describe(recorded)}; captures are in {out}", highlight=False)
    return recorded


async def _record(spec: LiveSpec, out: Path, seconds: float | None, clock: Clock, status: Status) -> Recorded:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    dice = random.Random(clock.now_ns())
    return await record(spec, out, clock, dice, stop, seconds, lambda recorded: status.update(describe(recorded)))


def describe(recorded: Recorded) -> str:
    """One line: how much, how long, what went wrong."""
    counts = recorded.counts
    text = f"{recorded.lines:,} messages, {recorded.bytes / 1e6:,.1f} MB in {recorded.seconds:,.0f} s"
    troubles = {"reconnects": counts.reconnects, "stalls": counts.stalls, "refused": counts.refused.total()}
    found = [f"{number} {name}" for name, number in troubles.items() if number]
    return f"{text}; {', '.join(found) or 'no interruption'}"
