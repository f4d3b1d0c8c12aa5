"""A long run: memory, lost events, and whether the shadow arm drifts.

    python -m benchmarks.soak --hours 6 --real-minutes 30

First the simulated market of six symbols, `--hours` of market time as fast as it goes, through one host with a
candidate in shadow. `rss_growth_mb` is resident memory at the end less that at one sixth of the way.
`lost` counts missing, refused and late events. `replay_equal` is whether a second run of everything, cut into other
slices, gave the same rows. `drift_ofi` and `drift_cvd` are the largest relative differences between the shadow arm's
z-score sums of the last twelfth and those of a host that heard only the last third: what is remembered of what came
before. OFI forgets by time (a half-life of 30 s), CVD by trades (a span of 8,000): where few trade it remembers long.

Then the service itself, as a process, for `--real-minutes` of real time, the candidate put in shadow through its
control socket: `real_rss_growth_mb` likewise, `real_lost`, and `real_replay_equal`: whether its rows are, first to
last, those of a fold of the same market at full speed.
"""

import argparse
import hashlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from benchmarks.shipped import CONFIG, shipped_candidate, shipped_host
from config.loader import load_caps, load_guardrails, load_release
from engine.adapters.control_client import ControlClient
from engine.adapters.exporter import resident_bytes
from engine.adapters.feeds import FeedSpec
from engine.adapters.service_client import ServiceClient
from engine.adapters.service_spec import ServiceSpec, spec_bytes
from engine.adapters.simulated import SimulatedMarket
from engine.clock import NS_PER_S, SystemClock
from engine.strategy.params import canonical_json
from engine.strategy.records import Measurement

TICKERS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT", "DOGEUSDT")
START_NS = 1_736_121_600 * NS_PER_S
MEASUREMENT = Measurement(60, 1000, (5_000, 15_000, 60_000))
SEED = 11
FRESH_SHARE = 1 / 3
COMPARED_SHARE = 1 / 12
OFI_SUMS, CVD_SUMS = ("z_ofi_sum", "z_ofi_sum_squares"), ("z_cvd_sum", "z_cvd_sum_squares")
LOST = ("lost", "refused", "late")
CONSOLE = Console(stderr=True)


@dataclass
class Run:
    """Rows of a fold, and the memory of the process as it went."""

    rows: list[dict[str, Any]]
    rss_mb: list[float]
    events: int
    seconds: float

    def lost(self) -> int:
        return sum(row[name] for row in self.rows for name in LOST)

    def digest(self) -> str:
        text = json.dumps(self.rows, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def fold(start_ns: int, end_ns: int, step_s: int, begin_ns: int | None = None) -> Run:
    """Fold the market from `start_ns`; hear it from `begin_ns` on."""
    market = SimulatedMarket(SEED, TICKERS, start_ns, (end_ns - start_ns) / NS_PER_S)
    host, run, began = (
        shipped_host(market.instruments(), MEASUREMENT, load_caps()),
        Run([], [], 0, 0.0),
        time.process_time(),
    )
    slices = market.slices(step_s * NS_PER_S)
    total = (end_ns - start_ns) // (step_s * NS_PER_S)
    for piece in track(slices, f"{total * step_s / 3600:.1f} h of market", total=total, console=CONSOLE):
        if begin_ns is not None and piece.from_ns < begin_ns:
            continue
        run.rows += [record.to_row(MEASUREMENT) for record in host.consume(piece)]
        run.events += sum(map(len, piece.batches.values()))
        if piece.clock_ns % (600 * NS_PER_S) == 0:
            run.rss_mb.append(resident_bytes() / 2**20)
    run.seconds = time.process_time() - began
    return run


def rss_of_fold(hours: float) -> list[float]:
    """Memory of a fold whose rows are thrown away: what the service itself would keep is measured in real time."""
    market = SimulatedMarket(SEED, TICKERS, START_NS, hours * 3600)
    host, found = shipped_host(market.instruments(), MEASUREMENT, load_caps()), []
    for piece in track(market.slices(10 * NS_PER_S), "memory", total=int(hours * 360), console=CONSOLE):
        host.consume(piece)
        if piece.clock_ns % (600 * NS_PER_S) == 0:
            found.append(resident_bytes() / 2**20)
    return found


def growth(rss_mb: list[float]) -> float:
    """Memory at the end less that at one sixth of the way, MB."""
    return rss_mb[-1] - rss_mb[len(rss_mb) // 6] if rss_mb else float("nan")


def drift(long: Run, fresh: Run, since_ns: int, names: tuple[str, ...]) -> float:
    """Largest relative difference of the canary's z sums over the last windows of both runs."""

    def late_rows(run: Run) -> dict[tuple[str, int], dict[str, Any]]:
        kept = [row for row in run.rows if row["arm"] == "canary" and row["window_start_ns"] >= since_ns]
        return {(row["symbol"], row["window_start_ns"]): row for row in kept}

    ours, theirs = late_rows(long), late_rows(fresh)
    assert ours
    assert ours.keys() == theirs.keys()
    return max(
        abs(ours[key][name] - theirs[key][name]) / max(1.0, abs(theirs[key][name])) for key in ours for name in names
    )


def compressed(hours: float) -> dict[str, Any]:
    end_ns = START_NS + round(hours * 3600) * NS_PER_S
    rss_mb = rss_of_fold(hours)
    long = fold(START_NS, end_ns, 10)
    again = fold(START_NS, end_ns, 60)
    fresh = fold(START_NS, end_ns, 10, begin_ns=end_ns - round(hours * 3600 * FRESH_SHARE) // 60 * 60 * NS_PER_S)
    since_ns = end_ns - round(hours * 3600 * COMPARED_SHARE) * NS_PER_S
    return {
        "hours": hours, "events": long.events, "rss_mb": round(rss_mb[-1], 1),
        "rss_growth_mb": round(growth(rss_mb), 2), "lost": long.lost(),
        "drift_ofi": drift(long, fresh, since_ns, OFI_SUMS), "drift_cvd": drift(long, fresh, since_ns, CVD_SUMS),
        "replay_equal": long.digest() == again.digest(),
    }  # fmt: skip


def real(minutes: float) -> dict[str, Any]:
    """The service process on the simulated market in real time."""
    with tempfile.TemporaryDirectory() as scratch:
        state_dir = Path(scratch)
        stable = load_release(CONFIG / "baseline.yaml", {}, {})
        feed = FeedSpec(None, 1.0, SEED, TICKERS, START_NS, minutes * 60)
        spec = ServiceSpec(
            str(state_dir), MEASUREMENT, canonical_json(stable.params), stable.fingerprint, load_caps(), feed,
            guardrails=load_guardrails(),
        )  # fmt: skip
        (state_dir / "service.json").write_bytes(spec_bytes(spec))
        process = subprocess.Popen([sys.executable, "-m", "engine.serve", str(state_dir / "service.json")])
        try:
            rows, rss_mb = _follow(state_dir, minutes)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    return {
        "real_minutes": minutes, "real_rss_mb": round(rss_mb[-1], 1), "real_rss_growth_mb": round(growth(rss_mb), 2),
        "real_lost": sum(row[name] for row in rows for name in LOST), "real_windows": len(rows),
        "real_replay_equal": len(rows) > 0 and rows == _plain_replay(minutes),
    }  # fmt: skip


def _follow(state_dir: Path, minutes: float) -> tuple[list[dict[str, Any]], list[float]]:
    """Ask for windows and memory every ten seconds until the market is over."""
    while not (state_dir / "http_port").exists():
        time.sleep(0.1)
    client = ServiceClient(state_dir, SystemClock())
    door = ControlClient(state_dir / "control.sock")
    end_ns = START_NS + round(minutes * 60) * NS_PER_S
    door.call("apply", **asdict(shipped_candidate(())))
    door.call("play", until_ns=end_ns)
    rows: list[dict[str, Any]] = []
    rss_mb: list[float] = []
    last = 0
    for _ in track(range(round(minutes * 6) + 3), f"{minutes:g} min of real time", console=CONSOLE):
        time.sleep(10 if minutes >= 1 else minutes * 60 / 6 + 1)
        answer = client.windows(last)
        last, rows = answer["last"], rows + answer["windows"]
        rss_mb.append(client.scrape()["rss_mb"])
        if client.status()["clock_ns"] >= end_ns:
            break
    return rows + client.windows(last)["windows"], rss_mb


def _plain_replay(minutes: float) -> list[dict[str, Any]]:
    """Rows of the same market folded in this process, as they look after a way through JSON."""
    market = SimulatedMarket(SEED, TICKERS, START_NS, minutes * 60)
    host = shipped_host(market.instruments(), MEASUREMENT, load_caps())
    rows = [record.to_row(MEASUREMENT) for piece in market.slices(NS_PER_S) for record in host.consume(piece)]
    loaded: list[dict[str, Any]] = json.loads(json.dumps(rows))
    return loaded


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=6.0)
    parser.add_argument("--real-minutes", type=float, default=30.0)
    arguments = parser.parse_args()
    result = compressed(arguments.hours) if arguments.hours > 0 else {}
    if arguments.real_minutes > 0:
        result |= real(arguments.real_minutes)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
