"""From the wire to the signal: a venue on this machine plays recorded messages, our feed and fold follow.

    python -m benchmarks.live_latency

Latency is from the sending of a message to the end of its fold, both arms, in microseconds, at 11,600 messages a
second: twice the recorded peak. `msgs_per_s` is messages per CPU second of the service side when the venue sends as
fast as it can: receiving, decoding, folding; `lost` counts what did not arrive in the sums. With `depth` the book's
messages are sent and folded as well. Venue and service are pinned to a core each. `others_pct` is how much of the
service's core something else used meanwhile: latency means little where that is not near 0. The service has real-time
priority where that is allowed (`realtime`).
Traffic is BTCUSDT and ETHUSDT USD-M of set A, or made up where the recording is absent.
Medians of five runs. Prints one JSON line.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from benchmarks.shipped import shipped_host
from benchmarks.wire_server import wire_process
from benchmarks.wire_tape import WireSpec, open_tape
from config.loader import load_caps
from engine.adapters.live.feed import LiveFeed
from engine.adapters.live.spec import LiveSpec, MarketSpec
from engine.clock import NS_PER_S, SystemClock
from engine.strategy.events import TICK_NS, EventBatch, Slice
from engine.strategy.host import Host
from engine.strategy.records import Measurement
from engine.strategy.warm import warm_up

RAW_A = Path(__file__).resolve().parents[2] / "shared" / "market" / "raw" / "A_binance_20240808_6inst"
TICKERS = ("BTCUSDT", "ETHUSDT")
MEASUREMENT = Measurement(86_400, 1000, (5_000,))
"""One window: the sums of the whole run."""
DEPTH_SPEED = "0ms" if RAW_A.is_dir() else "100ms"
PEAK_X2 = 11_600.0
WARM = 5_000
"""Messages at the start that are not counted."""
HZ = os.sysconf("SC_CLK_TCK")


@dataclass
class Heard:
    """The service side: a host that folds what a feed hands over."""

    host: Host
    done_ns: list[tuple[int, int]] = field(default_factory=list)
    messages: int = 0
    began_s: float = 0.0

    def hear(self, batches: Mapping[str, EventBatch]) -> None:
        if not self.messages:
            self.began_s = time.process_time()
        self.host.hear(batches)
        done_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self.messages += sum(len(batch) for batch in batches.values())
        self.done_ns.append((self.messages, done_ns))

    def tick(self, now_ns: int) -> None:
        clock_ns = now_ns // TICK_NS * TICK_NS
        if clock_ns > self.host.clock_ns:
            self.host.consume(Slice(self.host.clock_ns or clock_ns - TICK_NS, clock_ns, {}))


def wire_spec(streams: tuple[str, ...], limit: int, **changes: Any) -> WireSpec:
    folder = str(RAW_A) if RAW_A.is_dir() else None
    return WireSpec(folder=folder, markets=("usdm",), streams=streams, limit=limit, retime=True, **changes)


async def follow(port: int, expected: int, *, depth: bool, ticking: bool) -> tuple[Heard, LiveFeed, float]:
    """Listen until every message has come; return what was heard, the feed, and CPU seconds since the first."""
    market = MarketSpec(
        "usdm", TICKERS, depth=DEPTH_SPEED if depth else None,
        ws_url=f"ws://127.0.0.1:{port}/usdm", rest_url=f"http://127.0.0.1:{port}/usdm",
    )  # fmt: skip
    clock, stop = SystemClock(), asyncio.Event()
    feed = LiveFeed(LiveSpec((market,)), clock, random.Random(1))
    instruments = feed.instruments()
    live = (instruments[0].symbol,)
    heard = Heard(shipped_host(instruments, MEASUREMENT, load_caps(), live, with_depth=depth))
    gc.collect()
    gc.freeze()
    running = asyncio.ensure_future(feed.run(heard.hear, stop))
    while feed.messages < expected and not running.done():
        if ticking and heard.messages:
            heard.tick(clock.now_ns())
        await asyncio.sleep(TICK_NS / NS_PER_S if ticking else 0.002)
    cpu_s = time.process_time() - heard.began_s
    stop.set()
    await running
    return heard, feed, cpu_s


def latency(rate: float, limit: int) -> dict[str, float]:
    """Percentiles of one run, microseconds."""
    with tempfile.NamedTemporaryFile() as log:
        spec = wire_spec(("trade", "bookTicker"), limit, rate=rate, send_log=log.name)
        limit = len(open_tape(spec).messages)
        with venue(spec) as port:
            before = core_times(), time.process_time(), time.monotonic()
            heard, _, _ = uvloop.run(follow(port, limit, depth=False, ticking=True))
            others = others_pct(before)
        sent = np.fromfile(log.name, np.int64)[:limit]
    counts, done = (np.array(column) for column in zip(*heard.done_ns, strict=True))
    end = done[np.searchsorted(counts, np.arange(1, limit + 1))]
    delay = (end - sent)[WARM:] / 1000
    p50, p99, p999 = np.percentile(delay, [50, 99, 99.9]).tolist()
    return {"p50_us": p50, "p99_us": p99, "p999_us": p999, "others_pct": others}


def saturated(streams: tuple[str, ...], limit: int) -> dict[str, float]:
    """Messages per CPU second of one run, and what is missing in the sums."""
    spec = wire_spec(streams, limit)
    messages = open_tape(spec).messages
    folded = sum("@depth" not in message.stream for message in messages)
    with venue(spec) as port:
        heard, feed, cpu_s = uvloop.run(follow(port, len(messages), depth="depth" in streams, ticking=False))
    market = heard.host.folding.memory.market
    counts = market["counts"]
    seen = int(
        sum(part.sum() for part in (counts["trades"], counts["quotes"], market["tick_trades"], market["tick_quotes"]))
    )
    wrong = int(sum(counts[name].sum() for name in ("lost", "refused", "duplicates")))
    return {"msgs_per_s": len(messages) / cpu_s, "lost": folded - seen + wrong + feed.counts.refused.total()}


@contextlib.contextmanager
def venue(spec: WireSpec) -> Iterator[int]:
    """A venue on the first core, this process on the last with priority; yields the port."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        with wire_process(spec) as port:
            os.sched_setaffinity(0, {max(cores)})
            be_first(True)
            yield port
    finally:
        be_first(False)
        os.sched_setaffinity(0, cores)


def be_first(wanted: bool) -> bool:
    """Real-time priority for this process, as if the core were its own; return whether that is allowed."""
    policy, priority = (os.SCHED_FIFO, 10) if wanted else (os.SCHED_OTHER, 0)
    try:
        os.sched_setscheduler(0, policy, os.sched_param(priority))
    except PermissionError:
        return False
    return True


def core_times() -> tuple[float, float]:
    """Busy and stolen seconds of the last core since boot."""
    name = f"cpu{max(range(os.cpu_count() or 1))} "
    line = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith(name))
    user, nice, system, _, _, irq, softirq, steal, *_ = (int(text) / HZ for text in line.split()[1:])
    return user + nice + system + irq + softirq, steal


def others_pct(before: tuple[tuple[float, float], float, float]) -> float:
    """Share of the last core that went to others since `before`, percent."""
    (busy0, steal0), cpu0, wall0 = before
    busy1, steal1 = core_times()
    ours, wall = time.process_time() - cpu0, time.monotonic() - wall0
    return max(0.0, (busy1 - busy0 - ours) + (steal1 - steal0)) / wall * 100


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--messages", type=int, default=60_000)
    arguments = parser.parse_args()
    warm_up()
    slow = [latency(PEAK_X2, arguments.messages) for _ in range(arguments.runs)]
    fast = [saturated(("trade", "bookTicker"), 4 * arguments.messages) for _ in range(arguments.runs)]
    deep = [saturated(("trade", "bookTicker", "depth"), 4 * arguments.messages) for _ in range(arguments.runs)]

    def middle(runs: list[dict[str, float]], name: str) -> float:
        return round(statistics.median(run[name] for run in runs), 1)

    print(json.dumps({
        **{name: middle(slow, name) for name in ("p50_us", "p99_us", "p999_us", "others_pct")},
        "rate": PEAK_X2, "msgs_per_s": round(middle(fast, "msgs_per_s")),
        "msgs_per_s_with_depth": round(middle(deep, "msgs_per_s")),
        "lost": sum(run["lost"] for run in (*fast, *deep)), "runs": arguments.runs,
        "realtime": be_first(True) and be_first(False),
        "traffic": "recorded" if RAW_A.is_dir() else "made up",
    }))  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
