"""How fast the strategy service folds events, beside hftbacktest and nautilus_trader on the same events.

    python -m benchmarks.strategy_throughput

Prints one JSON line. Speeds are events per CPU second on one core, the median of five runs in turn with the peers',
since CPU time rises while others use the machine. Making, converting and loading the events is left out on every
side; a quote counts as one event, however many rows a peer needs for it. A ratio is our speed over the peer's, null
with a reason where the peer could not run or computed other sums. `scaling_10x` is the CPU time of a stream ten times
as long over that of the stream; `rss_1x_mb` and `rss_mb` are the most memory this process had by the end of each.

We do more than the peers: both arms with z-scores, fusion, paper trading and quality, where they add up order flow
and volume delta. What they do and we do not is a matching engine, part of any of their backtests.
Depth is not in it on any side: the streams hold trades and best quotes, so order flow is that of the best prices,
and nothing here says what a book costs.
Our slices are folded fresh from the processor's cache, hftbacktest reads 80 MB in order: at most 3 ns an event.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.feed import INSTRUMENT, save
from benchmarks.peers.run import Peer, race
from benchmarks.shipped import shipped_host
from benchmarks.streams import LISTINGS, SET_A, joined, synthetic_instruments, synthetic_slices, true_sums
from engine.adapters.replay import RecordedMarket
from engine.clock import NS_PER_S
from engine.strategy.caps import ANY, Caps, OrderCaps, PositionCaps
from engine.strategy.events import Instrument, Slice
from engine.strategy.records import Measurement

MARKET_S = 1_000
"""1.2 million events."""
GROWTH_S = 3_000
"""Long against the first minutes, in which less is done: no horizon has ended, no z-score is ready."""
TIMES = 10
RUNS = 5
CAPS = Caps(
    (ANY,), OrderCaps(max_value_usd=1e6, max_per_min=1_000, max_price_deviation_bps=50.0), PositionCaps(1e7), (ANY,)
)
"""Everything may be traded: nothing is saved by refusing orders."""
PEERS = ("hftbacktest", "nautilus")
SEED = 1
MEASUREMENT = Measurement(window_s=60, grid_ms=1_000, horizons_ms=(5_000, 15_000, 60_000))


def fold_ours(instruments: Sequence[Instrument], slices: Iterable[Slice]) -> tuple[int, float]:
    """Fold a stream through the strategy host, both arms running; return events and CPU seconds of the fold alone."""
    live = tuple(item.symbol for item in instruments[: len(instruments) // 2])
    host = shipped_host(instruments, MEASUREMENT, CAPS, live)
    count, cpu_s = 0, 0.0
    for piece in slices:
        started = time.process_time()
        host.consume(piece)
        cpu_s += time.process_time() - started
        count += sum(map(len, piece.batches.values()))
    return count, cpu_s


def fold_synthetic(market_s: int) -> tuple[int, float]:
    return fold_ours(synthetic_instruments(), synthetic_slices(market_s, SEED))


def measure_growth() -> dict[str, Any]:
    """How CPU time and peak memory grow from a stream to one ten times as long."""
    fold_synthetic(GROWTH_S)
    rss_1x_mb = peak_rss_mb()
    ratios = []
    for _ in range(RUNS):
        cpu_s = fold_synthetic(GROWTH_S)[1]
        ratios.append(fold_synthetic(GROWTH_S * TIMES)[1] / cpu_s)
    return {
        "scaling_10x": round(statistics.median(ratios), 2),
        "rss_1x_mb": round(rss_1x_mb, 1),
        "rss_mb": round(peak_rss_mb(), 1),
    }


def speed_on_recording() -> int | None:
    """Events per CPU second on set A, a minute at a time; None where it is not on this machine."""
    if not SET_A.is_dir():
        return None
    market = RecordedMarket(SET_A)
    runs = [fold_ours(market.instruments(), market.slices(60 * NS_PER_S)) for _ in range(RUNS)]
    return round(runs[0][0] / statistics.median(seconds for _, seconds in runs))


def measure_race() -> dict[str, Any]:
    """Our speed and the peers' on the synthetic stream, and the ratios."""
    stream = joined(synthetic_slices(MARKET_S, SEED))
    events = sum(map(len, stream.values()))
    truth = {symbol: true_sums(each) for symbol, each in stream.items()}
    listed = np.array([(item.symbol, item.price_digits, item.qty_digits) for item in LISTINGS], INSTRUMENT)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stream.npz"
        save(path, listed, stream)
        cpu_s, peers = race(PEERS, path, truth, lambda: fold_synthetic(MARKET_S)[1], RUNS)
    found: dict[str, Any] = {"events": events, "events_per_s": round(events / cpu_s)}
    for name, peer in peers.items():
        found[f"{name}_events_per_s"] = None if peer.cpu_s is None else round(events / peer.cpu_s)
        found[f"ratio_{name}"] = None if peer.cpu_s is None else round(peer.cpu_s / cpu_s, 2)
    return found | {"reason": reason_of(peers)}


def reason_of(peers: dict[str, Peer]) -> str | None:
    """Why a ratio is null, each reason once; None where none is."""
    return "; ".join(dict.fromkeys(peer.reason for peer in peers.values() if peer.reason is not None)) or None


def peak_rss_mb() -> float:
    """The most memory this process has had so far, in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def main() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    fold_synthetic(10)  # compiles
    growth = measure_growth()
    print(f"the fold alone: {json.dumps(growth)}; now in turn with the peers, about a minute", file=sys.stderr)
    print(json.dumps(measure_race() | growth | {"events_per_s_recorded": speed_on_recording()}))


if __name__ == "__main__":
    main()
