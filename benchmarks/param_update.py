"""How long a change of parameters takes, 500 symbols with overrides of their own.

    python -m benchmarks.param_update --count 5000 --reads 10000000

`p99_us` is the part of an update that follows the reading: every module checks every row, the new snapshot is built
beside the old one and published. Every tenth is refused by one module for one of the 500 symbols, and is timed as
well (`refused_p99_us`). Reading the text into rows comes before (`parse_ms`). The service reads in a thread, while
its loop goes on but shares the interpreter with it: `read_stall_ms` is the longest that a loop was held up by readings.
`apply_ms` is all of `Host.apply`, without a thread: reading, the update, and every arm taking notice.
`apply_read_ms` is `Host.apply` of parameters that were read before: what the service does on its loop.
Of these, and of `parse_ms`, the median is given.
`publish_us` is the median of the one store that puts a snapshot in force. Readers in other threads look at
`--reads` snapshots meanwhile: `torn_reads` is how many held rows of two updates. `rebuilt_bytes` is how much of
the rings and moments was changed by switches between rows with other buckets, levels, z-scores and baselines,
`changed_by_refusal` how many symbols a refused update changed.
The garbage collector runs as in the service: what was there at the start is frozen.
"""

import argparse
import asyncio
import gc
import json
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from config.loader import load_caps, load_release
from engine.errors import ConfigError
from engine.strategy.caps import cap_rows
from engine.strategy.checks import MODULES
from engine.strategy.events import BookTop, EventBatch, Instrument, Trade
from engine.strategy.fold import Fold
from engine.strategy.host import Deployment, Host
from engine.strategy.layout import Z_EWMA, Z_ROBUST, Z_ROLLING
from engine.strategy.params import FINGERPRINT_DIGITS, StrategyParams, canonical_json, digest, fingerprint, parse_params
from engine.strategy.records import Measurement
from engine.strategy.table import Rows, first_snapshot, param_rows, prepare

CONFIG = Path(__file__).resolve().parents[1] / "config"
SYMBOLS = 500
SECOND = 1_000_000_000
MEASUREMENT = Measurement(60, 1000, (5000,))
KEPT = ("flow", "mid", "delta", "level_flow", "level_depth", "lots", "newest_bin")
KEPT_OF_ARM = ("ofi", "cvd", "size", "cvd_ema", "equity_bps", "position", "activity")
ONE_IN = 10
STAMPS = 100
APPLIES = 10
SHAPES: tuple[dict[str, float], ...] = (
    {"bucket_ns": 100_000_000, "depth_levels": 5, "ofi_z": Z_EWMA, "cvd_z": Z_EWMA},
    {
        "bucket_ns": 250_000_000,
        "depth_levels": 10,
        "size_alpha": 0.002,
        "ofi_z": Z_ROBUST,
        "ofi_z_window": 1024,
        "ofi_z_floor": 0.1,
        "cvd_z": Z_ROLLING,
        "cvd_z_window": 1024,
    },
    {
        "bucket_ns": 50_000_000,
        "depth_levels": 1,
        "size_alpha": 0.01,
        "ofi_z_alpha": 0.5,
        "cvd_z_alpha": 0.5,
        "ofi_z": Z_ROLLING,
        "ofi_z_window": 2,
        "cvd_z": Z_ROBUST,
        "cvd_z_window": 2,
        "cvd_z_floor": 0.1,
    },
)
"""What switches change for all symbols: whatever decides on the use of rings and moments."""


def with_overrides(params: StrategyParams, symbols: list[str], extra: float = 0.0) -> StrategyParams:
    """The same parameters, with a position limit of its own for every symbol, `extra` higher."""
    text = json.loads(canonical_json(params))
    own = {name: text[name] for name in ("schedule", "market", "hysteresis", "active", "quiet", "fusion", "paper")}
    for number, symbol in enumerate(symbols):
        limit = (number % 90 + 10) / 100 + extra
        changed = json.loads(json.dumps(own))
        changed["active"]["risk"]["position_limit"] = limit
        text["per_symbol"][symbol] = changed
    canonical = json.dumps(text, sort_keys=True, separators=(",", ":"))
    return parse_params(canonical, digest(canonical)[:FINGERPRINT_DIGITS])


def state_of(folding: Fold) -> dict[str, bytes]:
    """Everything that must survive a change of parameters."""
    market = folding.memory.market
    kept = {name: market[name].tobytes() for name in KEPT}
    return kept | {f"arm.{name}": market["arms"][name].tobytes() for name in KEPT_OF_ARM}


class Reader(threading.Thread):
    """Looks at the published snapshot: all rows of one must carry the stamp of its epoch."""

    def __init__(self, folding: Fold, reads: int, seed: int) -> None:
        super().__init__(daemon=True)
        self.torn = self.count = 0
        self._folding, self._reads = folding, reads
        self._places = np.random.default_rng(seed).integers(0, SYMBOLS, (4096, 2)).tolist()

    def run(self) -> None:
        folding, places = self._folding, self._places
        while self.count < self._reads:
            for first, second in places:
                snapshot = folding.snapshot
                fees = snapshot.table["fee_bps"]
                stamp = float(snapshot.epoch % STAMPS)
                self.torn += not fees[first, 1, 0] == fees[second, 1, 1] == stamp
            self.count += len(places)


def update_times(
    folding: Fold, rows: list[Rows], params: StrategyParams, count: int
) -> tuple[list[float], list[float], int]:
    """Update `count` times, microseconds each; every tenth is refused. Returns (accepted, refused, changed)."""
    accepted, refused, changed = [], [], 0
    symbols, name = folding.symbols, fingerprint(params)
    broken = rows[0].copy()
    broken["order_rate_limit"][-1, 1] = 0
    for number in range(1, count + 1):
        candidate = rows[number % STAMPS]
        before = folding.snapshot
        if number % ONE_IN == 0:
            began = time.perf_counter_ns()
            try:
                folding.publish(prepare(before, broken, name, params, number, symbols))
            except ConfigError:
                refused.append((time.perf_counter_ns() - began) / 1000)
            changed += SYMBOLS * (folding.snapshot is not before)
            continue
        began = time.perf_counter_ns()
        folding.publish(prepare(before, candidate, name, params, number, symbols))
        accepted.append((time.perf_counter_ns() - began) / 1000)
    return accepted, refused, changed


def publish_us(folding: Fold) -> float:
    """Median of one publication, microseconds, from the time of a hundred."""
    times = []
    for _ in range(200):
        snapshot = folding.snapshot
        began = time.perf_counter_ns()
        for _ in range(100):
            folding.publish(snapshot)
        times.append((time.perf_counter_ns() - began) / 100_000)
    return statistics.median(times)


def rebuilt_bytes(folding: Fold, base: Rows, params: StrategyParams) -> int:
    """Bytes of rings, moments and positions that differ after every arm has taken notice of a switch.

    The switches go from each of SHAPES to the next, and around.
    """
    rebuilt, name = 0, fingerprint(params)
    for number, shape in enumerate((*SHAPES, SHAPES[0]), start=1):
        rows = base.copy()
        for field, value in shape.items():
            rows[field] = value
        before = state_of(folding)
        folding.publish(prepare(folding.snapshot, rows, name, params, number, folding.symbols))
        folding.settle()
        after = state_of(folding)
        rebuilt += sum(differing(before[field], after[field]) for field in before)
    return rebuilt


def differing(before: bytes, after: bytes) -> int:
    """How many bytes differ."""
    return int(np.count_nonzero(np.frombuffer(before, np.uint8) != np.frombuffer(after, np.uint8)))


def apply_times(symbols: list[str]) -> dict[str, float]:
    """Medians of reading, of `Host.apply` as a whole and of what is left once it was read, milliseconds."""
    stable = load_release(CONFIG / "baseline.yaml", {}, {}).params
    host = Host([Instrument(symbol) for symbol in symbols], MEASUREMENT, stable, load_caps())
    full = load_release(CONFIG / "production_full.yaml", {}, {}).params
    texts = [canonical_json(with_overrides(full, symbols, extra)) for extra in (0.0, 0.001)]
    gc.collect()
    gc.freeze()
    reads, whole, rest = [], [], []
    for number in range(2 * APPLIES):
        text = texts[number % 2]
        wanted = Deployment("bench", "all", number, digest(text)[:FINGERPRINT_DIGITS], text, tuple(symbols))
        began = time.perf_counter()
        if number < APPLIES:
            host.apply(wanted)
            whole.append(time.perf_counter() - began)
            continue
        candidate = host.read(wanted)
        read = time.perf_counter()
        host.apply(wanted, candidate)
        reads.append(read - began)
        rest.append(time.perf_counter() - read)
    named = {"parse_ms": reads, "apply_ms": whole, "apply_read_ms": rest}
    stall_ms = asyncio.run(read_stall_ms(host, wanted))
    return {name: round(1000 * statistics.median(times), 2) for name, times in named.items()} | {
        "read_stall_ms": round(stall_ms, 1)
    }


async def read_stall_ms(host: Host, wanted: Deployment) -> float:
    """The longest turn of a loop that does nothing else, while a thread reads parameters."""
    worst = 0.0
    for _ in range(APPLIES):
        reading = asyncio.ensure_future(asyncio.to_thread(host.read, wanted))
        while not reading.done():
            began = time.perf_counter()
            await asyncio.sleep(0)
            worst = max(worst, time.perf_counter() - began)
    return worst * 1000


def make_fold(symbols: list[str], params: StrategyParams) -> Fold:
    instruments = [Instrument(symbol) for symbol in symbols]
    folding = Fold(instruments, MEASUREMENT, first_snapshot(params, symbols), cap_rows(load_caps(), symbols))
    folding.begin(0)
    pairs = [(BookTop(k * 10**7, 99 + k / 100, 1, 101 + k / 100, 2), Trade(k * 10**7, 100, 1, 1)) for k in range(200)]
    events = EventBatch.of([event for pair in pairs for event in pair])
    for i in range(SYMBOLS):
        folding.fold(i, events, 5 * SECOND)
    return folding


def measure(count: int, reads: int) -> dict[str, Any]:
    symbols = [f"SYM{number:03d}USDT.binance_usdm" for number in range(SYMBOLS)]
    params = with_overrides(load_release(CONFIG / "production_full.yaml", {}, {}).params, symbols)
    base = param_rows(params, symbols)
    applied = apply_times(symbols)
    folding = make_fold(symbols, params)
    rows = []
    for stamp in range(STAMPS):
        stamped = base if stamp == 0 else base.copy()
        stamped["fee_bps"] = stamp
        rows.append(stamped)
    folding.publish(prepare(folding.snapshot, rows[0], fingerprint(params), params, STAMPS, symbols))
    gc.collect()
    gc.freeze()
    accepted, refused, changed = update_times(folding, rows, params, count)
    rebuilt = rebuilt_bytes(folding, base, params)
    torn, seen, updates = read_while_updating(folding, rows, params, reads)
    return {
        "p99_us": round(float(np.percentile(accepted, 99)), 1), "p50_us": round(statistics.median(accepted), 1),
        "worst_us": round(max(accepted), 1), "refused_p99_us": round(float(np.percentile(refused, 99)), 1),
        "publish_us": round(publish_us(folding), 3), **applied,
        "torn_reads": torn, "reads": seen, "updates_while_reading": updates,
        "changed_by_refusal": changed, "rebuilt_bytes": rebuilt, "symbols": SYMBOLS, "modules": len(MODULES),
    }  # fmt: skip


def read_while_updating(folding: Fold, rows: list[Rows], params: StrategyParams, reads: int) -> tuple[int, int, int]:
    """Let two threads read while this one updates; return (torn reads, reads, updates)."""
    readers = [Reader(folding, reads // 2, seed) for seed in (1, 2)]
    folding.publish(prepare(folding.snapshot, rows[0], fingerprint(params), params, STAMPS, folding.symbols))
    for reader in readers:
        reader.start()
    updates = 0
    while any(reader.is_alive() for reader in readers):
        accepted, _, _ = update_times(folding, rows, params, 50)
        updates += len(accepted)
        time.sleep(0.001)
    return sum(reader.torn for reader in readers), sum(reader.count for reader in readers), updates


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--reads", type=int, default=10_000_000)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.count, arguments.reads)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
