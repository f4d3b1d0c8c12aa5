"""A production rollout on a live market: a venue on this machine plays, `graygate start` releases on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.wire_server import wire_process
from benchmarks.wire_tape import WireSpec
from config.loader import CONFIG_DIR
from engine.rollout.journal import RecordType
from tests.engine.adapters.live.hearing import RAW_A
from tests.making_processes import Rehearsal, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.prefect]

SYMBOL = "BTCUSDT.binance_usdm"
PLAN = """\
extends: {config}/rollout.yaml
baseline: {config}/baseline.yaml
warmup_s: 3
measurement_window_s: 1
grid_ms: 250
horizons_ms: [1000]
judging: {{block_s: 2, min_blocks: 8, day_s: 30, quality_horizon_ms: 1000}}
stages:
  10pct: {{observe_s: 3600, cadence_s: 4}}
  50pct: {{observe_s: 8, cadence_s: 4, min_symbols: 1}}
  100pct: {{observe_s: 8, cadence_s: 4}}
overrides: {{market: {{window_secs: 1}}}}
"""


@pytest.fixture
def production(tmp_path: Path) -> Iterator[tuple[Rehearsal, list[str]]]:
    """A home without a rollout yet, and the options that start one on this machine's venue."""
    recorded = str(RAW_A) if RAW_A.is_dir() else None
    streams = ("trade", "bookTicker", "depth") if recorded else ("trade", "bookTicker")
    files = {name: tmp_path / f"{name}.yaml" for name in ("plan", "market", "candidate")}
    files["plan"].write_text(PLAN.format(config=CONFIG_DIR))
    files["candidate"].write_text(f"extends: {CONFIG_DIR}/production_full.yaml\nsymbols: [BTCUSDT]\n")
    with wire_process(WireSpec(recorded, markets=("usdm",), streams=streams, rate=400.0, retime=True)) as port:
        files["market"].write_text(
            f"market: usdm\nsymbols: [BTCUSDT]\ndepth: {'0ms' if recorded else 'null'}\n"
            f"ws_url: ws://127.0.0.1:{port}/usdm\nrest_url: http://127.0.0.1:{port}/usdm\n"
        )
        rehearsal = Rehearsal(tmp_path / "home", tmp_path)
        yield rehearsal, [part for name, path in files.items() for part in (f"--{name}", str(path))]
        rehearsal.run("stop")


def test_a_stage_runs_on_a_live_market_and_goes_back(production: tuple[Rehearsal, list[str]]) -> None:
    rehearsal, options = production

    started = rehearsal.run("start", "10pct", *options, "--name", "Rita", "--json", seconds=180)

    assert started.code == 0, started.said
    rehearsal.folder = Path(started.answer["folder"])
    wait_until(lambda: rehearsal.types().count(RecordType.VERDICT_REACHED) >= 2, seconds=120)
    assert rehearsal.on_candidate() == [SYMBOL]
    assert rehearsal.run("health").code == 0
    slots = [record.body["end_ns"] for record in rehearsal.records() if record.type is RecordType.SLOT_OBSERVED]
    assert slots[1] - slots[0] == 4 * 10**9

    done = rehearsal.run("rollback", "--name", "Ada", "--json")

    assert (done.code, done.answer["tier"]) == (0, "control socket")
    assert rehearsal.on_candidate() == []
