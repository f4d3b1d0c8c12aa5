"""Letting the market in: a recording or simulation played, or a live market listened to."""

import asyncio
from collections.abc import Mapping

from engine.adapters.feeds import Feed
from engine.adapters.live.feed import LiveFeed
from engine.adapters.runtime import Runtime
from engine.clock import NS_PER_MS, NS_PER_S, Clock
from engine.strategy.events import TICK_NS, EventBatch

TURN_NS = 10 * NS_PER_MS
"""Time that may be spent on folding before the loop looks at its doors again."""


async def play(runtime: Runtime, feed: Feed, speed: float, clock: Clock) -> None:
    """Fold a feed, no faster than `speed` times real time and never past the horizon that was asked for."""
    started_ns: int | None = None
    turn_ns = clock.mono_ns()
    for piece in feed.slices(_step_ns(speed)):
        while piece.clock_ns > runtime.horizon_ns:
            runtime.moved.clear()
            started_ns = None
            await runtime.moved.wait()
        if started_ns is None:
            started_ns, market_ns = clock.mono_ns(), piece.clock_ns
        runtime.consume(piece)
        ahead_s = 0.0
        if speed > 0:
            due_s = (piece.clock_ns - market_ns) / NS_PER_S / speed
            ahead_s = due_s - (clock.mono_ns() - started_ns) / NS_PER_S
        if ahead_s > 0.002 or clock.mono_ns() - turn_ns > TURN_NS:
            await asyncio.sleep(max(0.0, ahead_s))
            turn_ns = clock.mono_ns()
    runtime.exhausted = True


def _step_ns(speed: float) -> int:
    """Length of a slice: short where a person may watch, else a second; what comes out is the same."""
    return TICK_NS if 0 < speed < 10 else NS_PER_S


async def listen(runtime: Runtime, feed: LiveFeed, stop: asyncio.Event) -> None:
    """Fold a live market: events as they arrive, and a tick every 50 ms of the feed's time for silent symbols."""

    def hear(batches: Mapping[str, EventBatch]) -> None:
        runtime.hear(batches)

    ticking = asyncio.ensure_future(_tick(runtime, feed))
    running = asyncio.ensure_future(feed.run(hear, stop))
    try:
        await asyncio.wait([ticking, running], return_when=asyncio.FIRST_COMPLETED)
        if ticking.done():
            ticking.result()
        await running
    finally:
        ticking.cancel()


async def _tick(runtime: Runtime, feed: LiveFeed) -> None:
    """Close what ends, on every tick of the feed's time; let the feed gather events while all symbols allow it."""
    await feed.timed.wait()
    while True:
        now_ns = feed.now_ns()
        runtime.tick(now_ns // TICK_NS * TICK_NS)
        feed.coalesce_ns = runtime.host.coalesce_ns()
        feed.resync(runtime.host.lost_books())
        await asyncio.sleep((TICK_NS - now_ns % TICK_NS) / NS_PER_S)
