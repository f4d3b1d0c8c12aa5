"""The service process with nobody else alive: what it does when the lease runs out, and when it is started again."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from config.loader import CONFIG_DIR, load_caps, load_guardrails, load_release
from engine.adapters.control_client import ControlledService
from engine.adapters.feeds import FeedSpec
from engine.adapters.processes import pid_of, start_service, stop
from engine.adapters.service_spec import ServiceSpec, spec_bytes
from engine.clock import NS_PER_S
from engine.errors import RefusedError
from engine.strategy.params import canonical_json
from engine.strategy.records import Measurement

pytestmark = pytest.mark.prefect

START_NS = 1_736_125_500 * NS_PER_S
SYMBOLS = ("BTCUSDT.simulated", "ETHUSDT.simulated")
PATIENCE_S = 30.0


@dataclass
class Alone:
    """A service that plays a simulated market in real time, its lease a second long."""

    folder: Path
    door: ControlledService

    @property
    def pid(self) -> int:
        pid = pid_of("service", self.folder / "service")
        assert pid is not None
        return pid

    def deploy(self, epoch: int = 1) -> dict[str, Any]:
        candidate = load_release(CONFIG_DIR / "production_full.yaml", {}, {})
        self.door.renew(epoch)
        return self.door.apply(
            rollout_id="r", stage="10pct", epoch=epoch, fingerprint=candidate.fingerprint,
            params=canonical_json(candidate.params), live=[SYMBOLS[0]],
        )  # fmt: skip

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_S
        while not holds(status := self.door.status()):
            assert time.monotonic() < deadline, f"waited too long: {status}"
            time.sleep(0.02)
        return status

    def kill_and_start(self) -> dict[str, Any]:
        os.kill(self.pid, signal.SIGKILL)
        start_service(self.folder)
        return self.door.status()


def serving(folder: Path, ttl_s: float) -> Alone:
    state_dir = folder / "service"
    state_dir.mkdir()
    stable = load_release(CONFIG_DIR / "baseline.yaml", {}, {})
    feed = FeedSpec(None, 1.0, 7, ("BTCUSDT", "ETHUSDT"), START_NS, 600.0)
    spec = ServiceSpec(
        str(state_dir), Measurement(1, 250, (1_000,)), canonical_json(stable.params), stable.fingerprint, load_caps(),
        feed, guardrails=load_guardrails(), lease_ttl_s=ttl_s,
    )  # fmt: skip
    (state_dir / "service.json").write_bytes(spec_bytes(spec))
    start_service(folder)
    alone = Alone(folder, ControlledService(state_dir / "control.sock"))
    alone.door.play(START_NS + 600 * NS_PER_S)
    return alone


@pytest.fixture
def brief(tmp_path: Path) -> Iterator[Alone]:
    yield serving(tmp_path, 1.0)
    stop("service", tmp_path / "service")


@pytest.fixture
def lasting(tmp_path: Path) -> Iterator[Alone]:
    yield serving(tmp_path, 600.0)
    stop("service", tmp_path / "service")


def is_on_baseline(status: dict[str, Any]) -> bool:
    return set(status["live"].values()) == {status["stable"]}


def test_the_baseline_is_back_and_latched_once_nobody_renews(brief: Alone) -> None:
    assert not is_on_baseline(brief.deploy())

    status = brief.until(is_on_baseline)

    assert status["latch"]["cause"] == "lease"
    assert status["latch"]["swap_ms"] <= 100.0
    with pytest.raises(RefusedError, match="graygate rearm"):
        brief.deploy()
    brief.door.rearm(2)
    assert not is_on_baseline(brief.deploy(2))


def test_a_process_that_stood_still_for_longer_than_its_lease_never_shows_the_candidate_again(brief: Alone) -> None:
    brief.deploy()

    os.kill(brief.pid, signal.SIGSTOP)
    time.sleep(1.5)
    os.kill(brief.pid, signal.SIGCONT)
    status = brief.door.status()

    assert is_on_baseline(status)
    assert status["latch"]["cause"] == "lease"


def test_a_killed_process_starts_on_the_candidate_while_its_lease_lives(lasting: Alone) -> None:
    before = lasting.deploy()

    after = lasting.kill_and_start()

    assert after["boot"] != before["boot"]
    assert after["live"] == before["live"]


def test_a_killed_process_starts_on_the_baseline_once_its_lease_has_run_out(brief: Alone) -> None:
    brief.deploy()

    os.kill(brief.pid, signal.SIGKILL)
    time.sleep(1.0)
    start_service(brief.folder)

    assert is_on_baseline(brief.door.status())


def test_killed_symbols_are_flat_and_stay_so_over_a_restart(lasting: Alone) -> None:
    lasting.deploy()

    status = lasting.door.kill(2, [SYMBOLS[0]])
    again = lasting.kill_and_start()

    for seen in (status, again):
        assert (seen["killed"], seen["flat"], is_on_baseline(seen)) == ([SYMBOLS[0]], True, True)
    assert lasting.door.rearm(3)["killed"] == []
