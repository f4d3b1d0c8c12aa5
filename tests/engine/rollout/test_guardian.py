"""The guardian over a model of the service: what it does, and what it leaves alone, tick by tick."""

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.simulation.service import ModelService
from engine.adapters.journal_file import FileJournal
from engine.clock import NS_PER_S, FakeClock
from engine.errors import RefusedError, ServiceError
from engine.rollout.guardian import Fenced, Guardian
from engine.rollout.journal import RecordType
from engine.rollout.orders import Orders
from engine.rollout.state import RolloutState
from tests.making_rollout import SPEC, SYMBOLS


class ModelSupervisor:
    """Restarts the model; `failures` of the next restarts fail."""

    def __init__(self, service: ModelService, failures: int = 0) -> None:
        self.service = service
        self.failures = failures
        self.restarts: list[bool] = []
        self.stops = 0

    def is_alive(self) -> bool:
        return self.service.is_running

    def restart(self, *, on_baseline: bool) -> None:
        self.restarts.append(on_baseline)
        self.service.die()
        if self.failures:
            self.failures -= 1
            raise ServiceError("the service did not start")
        self.service.boot(switched_off=on_baseline)

    def stop(self) -> None:
        self.stops += 1
        self.service.die()


class ModelStandIn:
    """Counts how often a stand-in was wanted."""

    def __init__(self) -> None:
        self.working = True
        self.starts = 0

    def is_working(self) -> bool:
        return self.working

    def start(self) -> None:
        self.starts += 1


class Scene:
    """A guardian, a service model and a clock that moves a second per tick."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.journal = FileJournal(folder / "journal.jsonl", SPEC.rollout, self.clock)
        self.orders = Orders(self.journal, SPEC.plan)
        self.service = ModelService(self.clock, SYMBOLS, SPEC.baseline.fingerprint)
        self.supervisor = ModelSupervisor(self.service)
        self.stand_in = ModelStandIn()
        self.journal.append(RecordType.ROLLOUT_PLANNED, {"kind": "rehearsal"})
        self.guardian = self.another_guardian("first")

    def another_guardian(self, name: str) -> Guardian:
        journal = FileJournal(self.journal.path, SPEC.rollout, self.clock)
        orders = Orders(journal, SPEC.plan)
        guardian = Guardian(name, SPEC, orders, self.service, self.supervisor, self.stand_in, self.clock)
        guardian.start()
        return guardian

    def tick(self, seconds: int = 1) -> None:
        for _ in range(seconds):
            self.clock.sleep(1.0)
            self.service.guard()
            self.guardian.tick()

    def deployed(self) -> "Scene":
        self.orders.order_deploy("10pct", SPEC.symbols["10pct"])
        self.tick()
        now_ns = self.service.market_ns()
        self.orders.start_clock("10pct", {"start_ns": now_ns, "end_ns": now_ns + 259200 * NS_PER_S})
        return self

    def state(self) -> RolloutState:
        return self.orders.state()

    def types(self) -> list[RecordType]:
        return [record.type for record in self.journal.records()]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_an_order_is_drilled_deployed_and_read_back(scene: Scene) -> None:
    scene.deployed()

    assert [kind for kind in scene.types() if kind in (RecordType.DRILLED, RecordType.DEPLOYED)] == [
        RecordType.DRILLED,
        RecordType.DEPLOYED,
    ]
    assert scene.service.live == {SYMBOLS[0]}


def test_a_quiet_stage_is_left_alone_for_hours(scene: Scene) -> None:
    scene.deployed()
    before = len(scene.journal.records())

    scene.tick(3 * 3600)

    assert len(scene.journal.records()) == before
    assert scene.service.live == {SYMBOLS[0]}


BACK_CONDITIONS: dict[str, Callable[[Scene], None]] = {
    "the process is gone": lambda scene: scene.service.die(),
    "it was started anew": lambda scene: (scene.service.die(), scene.service.boot(switched_off=False))[0],
    "it hangs": lambda scene: setattr(scene.service, "hangs", True),
    "its market stands still": lambda scene: setattr(scene.service, "market_ns", lambda: 7),
    "it tripped a guardrail": lambda scene: scene.service.trip("loss", "lost 250 bps"),
    "a critical alert": lambda scene: scene.service.alerts.update(unsound_output=1),
    "a symbol runs what it should not": lambda scene: setattr(scene.service, "live", frozenset(SYMBOLS[:2])),
    "a symbol lost the candidate": lambda scene: setattr(scene.service, "live", frozenset()),
}


@pytest.mark.parametrize("happens", [pytest.param(happens, id=name) for name, happens in BACK_CONDITIONS.items()])
def test_a_back_condition_rolls_back_by_itself(scene: Scene, happens: Callable[[Scene], None]) -> None:
    scene.deployed()

    happens(scene)
    scene.tick(8)

    assert scene.state().outcome == "rolled_back"
    assert not scene.service.live
    assert scene.types().count(RecordType.ROLLBACK_ORDERED) == 1
    assert scene.types().count(RecordType.ROLLED_BACK) == 1


def test_a_service_that_ignores_the_rollback_is_restarted_on_the_baseline(scene: Scene) -> None:
    scene.deployed()
    scene.service.faults["roll_back"] = "ignore"

    scene.orders.order_rollback("ordered", "Ada")
    scene.tick()

    assert scene.supervisor.restarts == [True]
    assert scene.journal.records()[-1].body["tier"] == "restart on baseline"


def test_a_service_that_does_not_start_again_is_stopped(scene: Scene) -> None:
    scene.deployed()
    scene.service.hangs = True
    scene.supervisor.failures = 3

    scene.orders.order_rollback("ordered", "Ada")
    scene.tick()

    assert scene.supervisor.stops == 1
    assert not scene.service.is_running
    rolled_back = next(record for record in scene.journal.records() if record.type is RecordType.ROLLED_BACK)
    assert rolled_back.body["tier"] == "service stopped"


@pytest.mark.parametrize("fault", ["refuse", "no answer", "lost answer", "die"])
def test_a_deploy_that_fails_leaves_nothing_live_and_ends_the_rollout(scene: Scene, fault: str) -> None:
    scene.service.faults["apply"] = fault

    scene.orders.order_deploy("10pct", SPEC.symbols["10pct"])
    scene.tick(5)

    assert not scene.service.live
    assert scene.state().outcome == "rolled_back"
    assert RecordType.DEPLOYED not in scene.types()


def test_a_guardian_that_was_away_shorter_than_the_lease_changes_nothing(scene: Scene) -> None:
    scene.deployed()
    scene.clock.sleep(14)
    scene.service.guard()

    scene.guardian = scene.another_guardian("second")
    scene.tick(60)

    assert scene.service.live == {SYMBOLS[0]}
    assert scene.state().outcome is None


def test_without_a_guardian_the_service_goes_back_and_stays_there_when_one_returns(scene: Scene) -> None:
    scene.deployed()
    for _ in range(30):
        scene.clock.sleep(1)
        scene.service.guard()
    assert not scene.service.live

    scene.guardian = scene.another_guardian("second")
    scene.tick(5)

    assert scene.state().outcome == "rolled_back"
    assert "by itself" in scene.state().reason


def test_a_guardian_that_was_replaced_stops(scene: Scene) -> None:
    scene.deployed()
    scene.another_guardian("second")

    with pytest.raises(Fenced):
        scene.guardian.tick()


def test_a_rollback_that_was_only_ordered_is_finished_by_the_next_guardian(scene: Scene) -> None:
    scene.deployed()
    scene.orders.order_rollback("ordered", "Ada")

    scene.guardian = scene.another_guardian("second")
    scene.tick()

    assert scene.state().outcome == "rolled_back"
    assert scene.journal.records()[-1].actor == "Ada"


def test_after_a_rollback_only_a_named_person_starts_another_attempt(scene: Scene) -> None:
    scene.deployed()
    scene.service.trip("loss", "lost 250 bps")
    scene.tick(3600)
    assert not scene.service.live

    scene.orders.rearm("the cause was found", "Ada")
    scene.deployed()

    assert scene.service.live == {SYMBOLS[0]}
    assert scene.service.kept.latch is None
    assert scene.types().count(RecordType.DRILLED) == 2


def test_one_symbol_goes_back_and_the_others_stay(scene: Scene) -> None:
    scene.deployed()
    scene.orders.order_rollback("looks odd", "Ada", symbols=[SYMBOLS[0]])
    scene.tick(10)

    assert scene.state().outcome is None
    assert scene.state().desired() == ()
    assert not scene.service.live


def test_a_kill_stops_the_trading_of_every_symbol(scene: Scene) -> None:
    scene.deployed()
    scene.orders.order_kill("stop it", "Ada")
    scene.tick()

    assert scene.service.kept.killed == set(SYMBOLS)
    assert scene.state().outcome == "rolled_back"


def test_a_drill_on_demand_ends_with_the_candidate_live_again(scene: Scene) -> None:
    scene.deployed()
    scene.orders.order_drill("Ada")
    scene.tick()

    assert scene.types().count(RecordType.DRILLED) == 2
    assert scene.service.live == {SYMBOLS[0]}


def test_a_dead_service_outside_a_stage_is_started_again_and_after_three_deaths_on_the_baseline(scene: Scene) -> None:
    for _ in range(5):
        scene.service.die()
        scene.tick()

    assert scene.supervisor.restarts == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("working", "wanted_after_s", "stand_ins"),
    [
        pytest.param(False, 10, 1, id="the flow died"),
        pytest.param(False, 3, 0, id="the flow died a moment ago"),
        pytest.param(True, 600, 0, id="the flow works and the slot runs"),
        pytest.param(True, 14400 + 60, 1, id="the flow hangs past the end of the slot"),
    ],
)
def test_a_stand_in_takes_the_place_of_a_flow_that_is_gone(
    scene: Scene, working: bool, wanted_after_s: int, stand_ins: int
) -> None:
    scene.deployed()
    scene.stand_in.working = working

    scene.tick(wanted_after_s)

    assert scene.stand_in.starts == stand_ins


def test_a_journal_that_cannot_be_trusted_costs_the_candidate_its_place(scene: Scene) -> None:
    scene.deployed()

    scene.guardian.abandon()

    assert not scene.service.live


@pytest.mark.parametrize("missing", ["latch", "live", "health"])
def test_half_an_answer_is_none(scene: Scene, missing: str) -> None:
    scene.deployed()
    whole = scene.service.status
    scene.service.status = lambda: {name: value for name, value in whole().items() if name != missing}  # type: ignore[method-assign]

    scene.tick(8)

    assert scene.state().outcome == "rolled_back"


def test_a_stand_in_that_gets_nowhere_is_not_started_over_and_over(scene: Scene) -> None:
    scene.deployed()
    scene.stand_in.working = False

    scene.tick(3600)

    assert scene.stand_in.starts < 20


def test_after_a_restart_on_the_baseline_and_re_arming_the_service_starts_without_the_switches(scene: Scene) -> None:
    scene.deployed()
    scene.service.hangs = True
    scene.tick(8)
    assert scene.state().is_switched_off

    scene.orders.rearm("the host was overloaded", "Ada")
    scene.tick()
    scene.deployed()

    assert scene.supervisor.restarts == [True, False]
    assert scene.service.live == {SYMBOLS[0]}


def test_what_was_promoted_is_brought_back_after_a_crash(scene: Scene) -> None:
    scene.deployed()
    scene.journal.append(RecordType.PROMOTED, {"reason": "every stage advanced"})
    scene.service.die()
    scene.guardian = scene.another_guardian("second")

    scene.tick(5)

    assert scene.service.live == {SYMBOLS[0]}
    assert scene.types().count(RecordType.SERVICE_DIED) <= 2


def test_an_alert_that_the_deploy_itself_raised_counts(scene: Scene) -> None:
    scene.orders.order_deploy("10pct", SPEC.symbols["10pct"])
    apply = scene.service.apply

    def raising(**wanted: object) -> dict[str, object]:
        scene.service.alerts["state_not_written"] = 1
        return apply(**wanted)

    scene.service.apply = raising  # type: ignore[method-assign]
    scene.tick(2)

    assert scene.state().outcome == "rolled_back"


def test_a_kill_after_the_re_arming_is_not_undone_by_a_deploy(scene: Scene) -> None:
    scene.deployed()
    scene.orders.order_kill("stop it", "Ada")
    scene.tick()
    scene.orders.rearm("found it", "Ada")
    scene.orders.order_kill("not this one", "Ada", symbols=[SYMBOLS[0]])
    scene.tick()

    with pytest.raises(RefusedError, match="taken off"):
        scene.orders.order_deploy("10pct", SPEC.symbols["10pct"])
    scene.tick(60)

    assert SYMBOLS[0] in scene.service.kept.killed


def test_a_latch_after_the_re_arming_is_not_cleared_by_a_deploy(scene: Scene) -> None:
    scene.deployed()
    scene.orders.order_rollback("ordered", "Ada")
    scene.tick()
    scene.orders.rearm("found it", "Ada")
    scene.service.renew(scene.state().epoch)
    scene.service.trip("state", "the state file is damaged")

    scene.orders.order_deploy("10pct", SPEC.symbols["10pct"])
    scene.tick(3)

    assert scene.service.kept.latch is not None
    assert not scene.service.live


def test_a_service_that_dies_over_and_over_stays_on_the_baseline_also_after_a_promotion(scene: Scene) -> None:
    scene.deployed()
    scene.journal.append(RecordType.PROMOTED, {"reason": "every stage advanced"})
    for _ in range(5):
        scene.service.die()
        scene.tick()

    scene.tick(30)

    assert scene.supervisor.restarts[3:] == [True, True]
    assert not scene.service.live
    assert scene.state().desired() == ()


def test_a_deploy_that_only_says_it_was_done_is_not_one(scene: Scene) -> None:
    scene.service.apply = lambda **wanted: scene.service.status()  # type: ignore[method-assign]

    scene.orders.order_deploy("10pct", SPEC.symbols["10pct"])
    scene.tick(2)

    assert RecordType.DEPLOYED not in scene.types()
    assert scene.state().outcome == "rolled_back"


def test_an_order_right_after_re_arming_waits_for_the_restart_without_the_switches(scene: Scene) -> None:
    scene.deployed()
    scene.service.hangs = True
    scene.tick(8)

    scene.orders.rearm("the host was overloaded", "Ada")
    scene.orders.order_deploy("10pct", SPEC.symbols["10pct"])
    scene.tick(2)

    assert scene.service.live == {SYMBOLS[0]}


def test_a_symbol_taken_off_while_the_deploy_is_under_way_stays_off(scene: Scene) -> None:
    scene.deployed()
    judged_and_advanced(scene)
    scene.orders.order_deploy("50pct", SPEC.symbols["50pct"])
    scene.orders.order_rollback("not this one", "Ada", symbols=[SYMBOLS[0]])

    scene.tick(5)

    assert SYMBOLS[0] not in scene.service.live
    assert SYMBOLS[0] not in scene.state().desired()


def judged_and_advanced(scene: Scene) -> None:
    body = {"slot": 18, "verdict": "PASS", "evidence_digest": "d"}
    scene.journal.append(RecordType.SLOT_OBSERVED, {"slot": 18, "is_last": True}, stage="10pct")
    scene.journal.append(RecordType.VERDICT_REACHED, body, stage="10pct")
    scene.journal.append(RecordType.APPROVAL_REQUESTED, {"evidence_digest": "d"}, stage="10pct")
    scene.journal.append(RecordType.APPROVAL_GIVEN, {"decision": "advance", "name": "Ada"}, stage="10pct")
    scene.orders.advance("10pct", "Ada")


def test_a_kill_of_one_symbol_does_not_make_a_kill_of_all_forgotten(scene: Scene) -> None:
    scene.deployed()
    scene.orders.order_kill("stop everything", "Ada")
    scene.orders.order_kill("and this one", "Ada", symbols=[SYMBOLS[0]])
    assert scene.state().is_aborted

    scene.tick(2)

    assert scene.types().count(RecordType.KILLED) == 2
    assert scene.service.kept.killed == set(SYMBOLS)
    assert scene.state().outcome == "rolled_back"


def test_a_service_restarted_on_the_baseline_knows_of_the_abort(scene: Scene) -> None:
    scene.deployed()
    scene.service.faults["roll_back"] = "die"
    scene.orders.order_rollback("ordered", "Ada")
    scene.tick()

    scene.service.die()
    scene.service.boot(switched_off=False)

    assert not scene.service.live
