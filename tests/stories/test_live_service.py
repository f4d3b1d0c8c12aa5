"""The service process on a live market: a venue on this machine plays, the service listens."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.wire_server import wire_process
from benchmarks.wire_tape import WireSpec
from config.loader import CONFIG_DIR, load_caps, load_guardrails, load_release
from engine.adapters.control_client import ControlClient
from engine.adapters.live.spec import LiveSpec, MarketSpec
from engine.adapters.service_client import ServiceClient
from engine.adapters.service_spec import ServiceSpec, spec_bytes
from engine.clock import SystemClock
from engine.errors import RefusedError
from engine.strategy.params import canonical_json
from engine.strategy.records import Measurement
from tests.engine.adapters.live.hearing import RAW_A

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SYMBOLS = ("BTCUSDT.binance_usdm", "ETHUSDT.binance_usdm")
PATIENCE_S = 60.0


@dataclass
class Listening:
    """A service that listens, and its doors."""

    process: subprocess.Popen[bytes]
    client: ServiceClient
    door: ControlClient
    state_dir: Path

    def metric(self, name: str) -> list[str]:
        port = (self.state_dir / "http_port").read_text()
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        return [line for line in text.splitlines() if line.startswith(name)]


def until(done: Callable[[], Any]) -> Any:
    """Wait for something to be so. Fails where that takes longer than PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := done()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    state_dir = tmp_path_factory.mktemp("service")
    stable = load_release(CONFIG_DIR / "baseline.yaml", {}, {})
    # Books that somebody made up cross: they come from a recording or not at all.
    recorded = str(RAW_A) if RAW_A.is_dir() else None
    streams = ("trade", "bookTicker", "depth") if recorded else ("trade", "bookTicker")
    wire = WireSpec(recorded, markets=("usdm",), streams=streams, limit=40_000, rate=800.0, retime=True)
    with wire_process(wire) as port:
        url = f"127.0.0.1:{port}/usdm"
        market = MarketSpec(
            "usdm", ("BTCUSDT", "ETHUSDT"), depth="0ms" if recorded else None,
            ws_url=f"ws://{url}", rest_url=f"http://{url}",
        )  # fmt: skip
        spec = ServiceSpec(
            str(state_dir), Measurement(1, 250, (1_000,)), canonical_json(stable.params), stable.fingerprint,
            load_caps(), live=LiveSpec((market,)), guardrails=load_guardrails(), lease_ttl_s=600.0,
        )  # fmt: skip
        (state_dir / "service.json").write_bytes(spec_bytes(spec))
        process = subprocess.Popen([sys.executable, "-m", "engine.serve", str(state_dir / "service.json")], cwd=ROOT)
        until(lambda: (state_dir / "control.sock").exists() and (state_dir / "http_port").exists())
        yield Listening(
            process, ServiceClient(state_dir, SystemClock()), ControlClient(state_dir / "control.sock"), state_dir
        )
        process.kill()
        process.wait()


def test_windows_close_on_whole_seconds_of_the_wall_clock_and_nothing_is_lost(listening: Listening) -> None:
    rows = until(lambda: rows if len(rows := listening.client.windows(0)["windows"]) >= 4 * 4 else [])

    assert {row["symbol"] for row in rows} == set(SYMBOLS)
    assert all(row["window_end_ns"] % 1_000_000_000 == 0 for row in rows)
    assert sum(row["events"] for row in rows) > 1_000
    wrong = {name: sum(row[name] for row in rows) for name in ("lost", "duplicates", "refused", "crossed", "late")}
    assert wrong == dict.fromkeys(wrong, 0)
    assert not RAW_A.is_dir() or sum(row["depths"] for row in rows) > 0


def test_the_metrics_say_what_the_feed_went_through(listening: Listening) -> None:
    until(
        lambda: any(
            float(line.split()[-1]) > 0 for line in listening.metric('strategy_feed_events_total{event="messages"')
        )
    )

    resyncs = listening.metric('strategy_feed_events_total{event="resyncs"}')
    assert float(resyncs[0].split()[-1]) == (2 if RAW_A.is_dir() else 0)
    ages = listening.metric("strategy_feed_age_seconds{")
    heard = SYMBOLS if RAW_A.is_dir() else SYMBOLS[:1]  # the tape that is made up has one
    assert len(ages) == len(SYMBOLS)
    assert all(float(line.split()[-1]) < 5 for line in ages if any(symbol in line for symbol in heard))


def test_a_candidate_goes_live_and_back_while_the_market_runs(listening: Listening) -> None:
    candidate = load_release(CONFIG_DIR / "production_full.yaml", {}, {})
    wanted = {
        "rollout_id": "r", "stage": "10pct", "epoch": 1, "fingerprint": candidate.fingerprint,
        "params": canonical_json(candidate.params), "live": [SYMBOLS[1]],
    }  # fmt: skip

    listening.client.renew(1)
    assert listening.client.apply(**wanted)["live"][SYMBOLS[1]] == candidate.fingerprint
    until(lambda: any(row["live"] and row["arm"] == "canary" for row in listening.client.windows(0)["windows"]))
    status = listening.client.roll_back(2)

    assert status["live"][SYMBOLS[1]] == status["stable"]


def test_a_live_market_cannot_be_played(listening: Listening) -> None:
    with pytest.raises(RefusedError, match="time passes by itself"):
        listening.door.call("play", until_ns=1)


def test_it_ends_when_it_is_told_to(listening: Listening) -> None:
    os.kill(listening.process.pid, signal.SIGTERM)

    assert listening.process.wait(20) == 0
    assert (listening.state_dir / "undelivered.jsonl").exists()
