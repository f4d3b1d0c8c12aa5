"""Lowering exposure: by whom it is carried out, how often, and what happens where the service does not obey."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.simulation.service import ModelService
from engine.clock import FakeClock
from engine.errors import ServiceError
from engine.rollout.journal import RecordType
from engine.rollout.rollback import STOPPED, T1, T2, Rollback, require_baseline
from tests.engine.rollout.test_guardian import Scene
from tests.making_rollout import SPEC, SYMBOLS


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path).deployed()


def by_hand(scene: Scene) -> Rollback:
    """What a command does, with no guardian at all."""
    return Rollback(scene.orders, scene.service, scene.supervisor, scene.clock)


def test_a_command_rolls_back_without_a_guardian(scene: Scene) -> None:
    scene.orders.order_rollback("spread looks wrong", "Ada")

    seconds = by_hand(scene).carry_out()

    assert seconds == 0.0
    assert not scene.service.live
    assert scene.state().reason == "spread looks wrong"


def test_two_that_carry_out_the_same_order_leave_one_outcome(scene: Scene) -> None:
    scene.orders.order_rollback("ordered", "Ada")

    by_hand(scene).carry_out()
    scene.tick(3)
    by_hand(scene).carry_out()

    assert scene.types().count(RecordType.ROLLED_BACK) == 1


def test_nothing_ordered_is_nothing_done(scene: Scene) -> None:
    assert by_hand(scene).carry_out() is None
    assert scene.service.live == {SYMBOLS[0]}


@pytest.mark.parametrize(
    ("fault", "failures", "tier"),
    [
        pytest.param("", 0, T1, id="it obeys"),
        pytest.param("ignore", 0, T2, id="it says yes and does not obey"),
        pytest.param("no answer", 0, T2, id="it does not answer"),
        pytest.param("die", 0, T2, id="it dies"),
        pytest.param("die", 2, T2, id="it dies and starts again at the third attempt"),
        pytest.param("die", 3, STOPPED, id="it dies and does not start again"),
    ],
)
def test_the_baseline_comes_back_in_the_gentlest_way_that_works(
    scene: Scene, fault: str, failures: int, tier: str
) -> None:
    scene.service.faults["roll_back"] = fault
    scene.supervisor.failures = failures
    scene.orders.order_rollback("ordered", "Ada")

    by_hand(scene).carry_out()

    assert scene.journal.records()[-1].body["tier"] == tier
    assert not scene.service.live


def test_a_restart_takes_every_symbol_back_though_one_was_meant(tmp_path: Path) -> None:
    scene = Scene(tmp_path).deployed()
    scene.service.faults["roll_back"] = "die"
    scene.orders.order_rollback("looks odd", "Ada", symbols=[SYMBOLS[0]])

    by_hand(scene).carry_out()

    assert scene.state().outcome == "rolled_back"


@pytest.mark.parametrize("fault", ["no answer", "die"])
def test_a_service_that_cannot_be_told_to_stop_trading_is_stopped(scene: Scene, fault: str) -> None:
    scene.service.faults["kill"] = fault
    scene.orders.order_kill("stop it", "Ada")

    by_hand(scene).carry_out()

    assert not scene.service.is_running
    assert scene.state().outcome == "rolled_back"


def test_without_a_journal_the_baseline_comes_back_all_the_same(scene: Scene) -> None:
    scene.service.kept.epoch = 7

    assert by_hand(scene).force_baseline() == T1
    assert not scene.service.live


STABLE = SPEC.baseline.fingerprint


@pytest.mark.parametrize(
    ("live", "symbols"),
    [
        pytest.param({}, None, id="no symbol at all"),
        pytest.param({"A": STABLE, "B": "candidate"}, None, id="one of two"),
        pytest.param({"A": STABLE, "B": None}, None, id="unknown"),
        pytest.param({"A": STABLE}, ("B",), id="another symbol than was asked for"),
    ],
)
def test_what_is_not_read_back_as_the_baseline_is_not_the_baseline(
    live: dict[str, Any], symbols: tuple[str, ...] | None
) -> None:
    with pytest.raises(ServiceError):
        require_baseline({"live": live, "stable": STABLE}, symbols)


def test_the_model_of_the_service_knows_no_old_epoch() -> None:
    service = ModelService(FakeClock(), SYMBOLS, STABLE)
    service.roll_back(5)

    with pytest.raises(Exception, match="older"):
        service.renew(4)
