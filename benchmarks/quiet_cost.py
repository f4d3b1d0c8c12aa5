"""What quiet mode costs in CPU with and without throttling, at the same input.

    python -m benchmarks.quiet_cost

A venue on this machine plays recorded messages at their own pace; our feed and fold follow, every symbol quiet. With
`throttle_in_quiet` the feed looks at its sockets only every `coalesce_ms`, else as soon as something comes. Nothing is
dropped: `lost` counts what is missing in the sums of either. `saving_pct` is of the CPU time of the whole process.
What it costs: `delay_p50_ms`, `delay_p99_ms` from sending to folded, throttled, beside `plain_delay_p50_ms`; and
`z_ofi_equal_pct`, `z_cvd_equal_pct`: buckets in which both runs published the same z to nine digits.
Runs alternate; medians. Prints one JSON line.
"""

import argparse
import asyncio
import gc
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import uvloop

from benchmarks.live_latency import MEASUREMENT, RAW_A, TICKERS, Heard, venue
from benchmarks.shipped import CONFIG
from benchmarks.wire_tape import WireSpec, open_tape
from config.loader import load_caps, load_release
from engine.adapters.live.feed import LiveFeed
from engine.adapters.live.spec import LiveSpec, MarketSpec
from engine.clock import NS_PER_MS, NS_PER_S, SystemClock
from engine.strategy.events import TICK_NS
from engine.strategy.host import Host
from engine.strategy.layout import SIGNAL_RING
from engine.strategy.warm import warm_up


class TapeClock(SystemClock):
    """The time of the tape: what is sent now happened now."""

    def __init__(self, starts_ns: int) -> None:
        self._starts_ns = starts_ns
        self._offset_ns: int | None = None

    def now_ns(self) -> int:
        if self._offset_ns is None:
            self._offset_ns = self._starts_ns - time.monotonic_ns()
        return time.monotonic_ns() + self._offset_ns


@dataclass
class Run:
    """One run: CPU seconds, delays of messages in ms, published signals by symbol, and what was missing."""

    cpu_s: float
    delay_ms: Any
    published: dict[str, dict[int, tuple[float, float]]]
    lost: int


async def follow(port: int, expected: int, starts_ns: int, *, throttle: bool) -> tuple[Heard, LiveFeed, float, Any]:
    """Listen until every message has come, every symbol quiet."""
    market = MarketSpec("usdm", TICKERS, depth=None, ws_url=f"ws://127.0.0.1:{port}/usdm")
    clock, stop = TapeClock(starts_ns), asyncio.Event()
    feed = LiveFeed(LiveSpec((market,)), clock, random.Random(1))
    params = replace(load_release(CONFIG / "baseline.yaml", {}, {}).params, throttle_in_quiet=throttle)
    heard = Heard(Host(feed.instruments(), MEASUREMENT, params, load_caps()))
    published: dict[str, dict[int, tuple[float, float]]] = {symbol: {} for symbol in heard.host.symbols}
    gc.collect()
    gc.freeze()
    running, now_ns = asyncio.ensure_future(feed.run(heard.hear, stop)), 0
    while feed.messages < expected and not running.done():
        if heard.messages:
            now_ns = clock.now_ns()
            heard.tick(now_ns)
        feed.coalesce_ns = heard.host.coalesce_ns()
        await asyncio.sleep((TICK_NS - now_ns % TICK_NS) / NS_PER_S)
    cpu_s = time.process_time() - heard.began_s
    _collect(heard.host, published)
    stop.set()
    await running
    return heard, feed, cpu_s, published


def _collect(host: Host, published: dict[str, dict[int, tuple[float, float]]]) -> None:
    """Note every signal that is still in the ring."""
    for symbol, record in zip(host.symbols, host.folding.memory.market, strict=True):
        arm = record["arms"][0]
        for number in range(max(0, int(arm["signal_count"]) - SIGNAL_RING), int(arm["signal_count"])):
            row = arm["published"][number % SIGNAL_RING]
            published[symbol][int(row["bucket_end_ns"])] = (float(row["z_ofi"]), float(row["z_cvd"]))


def run(limit: int, speed: float, *, throttle: bool) -> Run:
    with tempfile.NamedTemporaryFile() as log:
        folder = str(RAW_A) if RAW_A.is_dir() else None
        spec = WireSpec(
            folder=folder,
            markets=("usdm",),
            streams=("trade", "bookTicker"),
            limit=limit,
            speed=speed,
            send_log=log.name,
        )
        messages = open_tape(spec).messages
        starts_ns = json.loads(messages[0].text)["data"]["E"] * NS_PER_MS
        with venue(spec) as port:
            heard, feed, cpu_s, published = uvloop.run(follow(port, len(messages), starts_ns, throttle=throttle))
        sent = np.fromfile(log.name, np.int64)[: len(messages)]
    counts, done = (np.array(column) for column in zip(*heard.done_ns, strict=True))
    delay = (done[np.searchsorted(counts, np.arange(1, len(messages) + 1))] - sent) / 1e6
    found = heard.host.folding.memory.market["counts"]
    wrong = sum(int(found[name].sum()) for name in ("lost", "refused", "late", "duplicates"))
    lost = len(messages) - heard.messages + wrong + feed.counts.refused.total()
    return Run(cpu_s, delay, published, lost)


def equal_pct(plain: Run, throttled: Run, which: int) -> float:
    """Share of buckets that both published and in which both z-scores agree, percent."""
    pairs = [
        (values[which], throttled.published[symbol][end][which])
        for symbol, rows in plain.published.items()
        for end, values in rows.items()
        if end in throttled.published[symbol]
    ]
    known = np.array([pair for pair in pairs if not np.isnan(pair).any()])
    if not len(known):
        raise SystemExit("too few messages: no z-score is known in both runs")
    return float(np.isclose(known[:, 0], known[:, 1], rtol=1e-9, atol=1e-9).mean() * 100)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--messages", type=int, default=8_000)
    parser.add_argument("--speed", type=float, default=1.0)
    arguments = parser.parse_args()
    warm_up()
    pairs = []
    for _ in range(arguments.runs):
        plain = run(arguments.messages, arguments.speed, throttle=False)
        pairs.append((plain, run(arguments.messages, arguments.speed, throttle=True)))

    def middle(of: Callable[[Run, Run], float]) -> float:
        return round(statistics.median(of(*pair) for pair in pairs), 2)

    coalesce_ms = load_release(CONFIG / "baseline.yaml", {}, {}).params.quiet.performance.coalesce_ms
    print(json.dumps({
        "saving_pct": middle(lambda a, b: (1 - b.cpu_s / a.cpu_s) * 100),
        "cpu_s": middle(lambda a, b: b.cpu_s), "plain_cpu_s": middle(lambda a, b: a.cpu_s),
        "coalesce_ms": coalesce_ms, "lost": sum(a.lost + b.lost for a, b in pairs),
        "delay_p50_ms": middle(lambda a, b: float(np.percentile(b.delay_ms, 50))),
        "delay_p99_ms": middle(lambda a, b: float(np.percentile(b.delay_ms, 99))),
        "plain_delay_p50_ms": middle(lambda a, b: float(np.percentile(a.delay_ms, 50))),
        "z_ofi_equal_pct": middle(lambda a, b: equal_pct(a, b, 0)),
        "z_cvd_equal_pct": middle(lambda a, b: equal_pct(a, b, 1)),
        "messages": arguments.messages, "runs": arguments.runs,
    }))  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
