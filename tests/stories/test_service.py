"""The real service process: its doors, its switches, and how it stops."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from engine.adapters.control_client import ControlClient
from engine.adapters.processes import BASELINE_SWITCHES, start_service, stop
from engine.adapters.service_client import ServiceClient
from engine.clock import NS_PER_S, SystemClock
from engine.errors import RefusedError
from tasks.planning import default_plan, plan_rollout
from tasks.wiring import Wiring, open_rollout

pytestmark = pytest.mark.prefect


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    planned = plan_rollout(
        home=tmp_path / "var", plan_path=default_plan(), candidate=None, feed=None, seed=1, speed=0.0,
        approve="auto", language="en", environment={}, requester="test",
    )  # fmt: skip
    yield planned
    stop("service", planned / "service")


def play_seconds(client: ServiceClient, seconds: int) -> None:
    until_ns = client.status()["horizon_ns"] + seconds * NS_PER_S
    client.play(until_ns)
    while client.status()["clock_ns"] < until_ns:
        SystemClock().sleep(0.05)


def deploy(wiring: Wiring, **changes: object) -> dict[str, object]:
    release = wiring.spec.releases["10pct"]
    wanted = {
        "rollout_id": "r", "stage": "10pct", "epoch": 1, "fingerprint": release.fingerprint,
        "params": release.params, "live": list(wiring.spec.symbols["10pct"]),
    }  # fmt: skip
    wiring.service.renew(1)
    return wiring.service.apply(**(wanted | changes))


def test_what_nobody_collected_survives_a_planned_stop(folder: Path) -> None:
    start_service(folder)
    client = ServiceClient(folder / "service", SystemClock())
    play_seconds(client, 5)
    closed = client.windows(0)["windows"]

    stop("service", folder / "service")
    start_service(folder)

    assert len(closed) == 5 * 2 * 6
    assert ServiceClient(folder / "service", SystemClock()).windows(0)["windows"] == closed


def test_every_door_answers_on_the_loopback(folder: Path) -> None:
    start_service(folder)
    wiring = open_rollout(folder)
    play_seconds(ServiceClient(folder / "service", SystemClock()), 3)
    deploy(wiring)
    own = f"http://127.0.0.1:{(folder / 'service' / 'http_port').read_text()}"

    assert httpx.get(f"{own}/healthz", trust_env=False).json()["ok"] is True
    assert httpx.get(f"{own}/readyz", trust_env=False).json()["ready"] is True
    assert httpx.get(f"{own}/windows?after=soon", trust_env=False).status_code == 400
    exposition = httpx.get(f"{own}/metrics", trust_env=False).text
    for name in ("strategy_mode_active", "strategy_mode_info", "strategy_trigger_spread_bps", "strategy_live_info"):
        assert name in exposition
    assert "strategy_params_update_duration_ms_count 1.0" in exposition
    assert ((folder / "service" / "control.sock").stat().st_mode & 0o777) == 0o600


def test_a_deploy_is_read_back_from_the_arms_and_a_rollback_undoes_it(folder: Path) -> None:
    start_service(folder)
    wiring = open_rollout(folder)
    symbol = wiring.spec.symbols["10pct"][0]

    live = deploy(wiring)["live"]
    after = wiring.service.roll_back(epoch=1)["live"]

    assert isinstance(live, dict)
    assert live[symbol] == wiring.spec.releases["10pct"].fingerprint
    assert set(after.values()) == {wiring.spec.baseline.fingerprint}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"fingerprint": "0" * 12}, "000000000000", id="another fingerprint"),
        pytest.param({"live": ["NOSUCH.simulated"]}, "NOSUCH.simulated", id="a symbol that is not served"),
    ],
)
def test_a_wrong_deploy_changes_nothing(folder: Path, changes: dict[str, object], said: str) -> None:
    start_service(folder)
    wiring = open_rollout(folder)
    before = wiring.service.status()

    with pytest.raises(Exception, match=said):
        deploy(wiring, **changes)

    assert wiring.service.status()["live"] == before["live"]


def test_an_older_epoch_is_refused(folder: Path) -> None:
    start_service(folder)
    wiring = open_rollout(folder)
    wiring.service.roll_back(epoch=5)

    with pytest.raises(RefusedError, match="epoch 1 is older than 5"):
        deploy(wiring)


def test_the_rollback_switches_pin_the_baseline_and_refuse_a_deploy(folder: Path) -> None:
    start_service(folder, BASELINE_SWITCHES)

    with pytest.raises(RefusedError, match="DYNAMIC_MODE_ENABLED=false"):
        deploy(open_rollout(folder))


def test_nonsense_on_the_control_socket_is_answered_with_a_refusal(folder: Path) -> None:
    start_service(folder)
    client = ControlClient(folder / "service" / "control.sock")

    for command, arguments in (("explode", {}), ("play", {"until_ns": "later"}), ("apply", {"live": 3})):
        with pytest.raises(RefusedError):
            client.call(command, **arguments)
    assert client.call("status")["ok"] is True
