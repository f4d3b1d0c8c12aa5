"""Rollback, kill, hold, rearm, drill and baseline, with whatever else is dead, hung or damaged."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.rollout.journal import RecordType
from tests.making_processes import LIVE, ROOT, Rehearsal, running, wait_until

HEAVY = ("numpy", "pandas", "pyarrow", "scipy", "numba", "httpx", "pydantic", "prefect", "yaml")


@pytest.fixture
def rehearsal(tmp_path: Path) -> Iterator[Rehearsal]:
    yield from running(tmp_path / "home")


def nothing(_: Rehearsal) -> None:
    pass


def without_guardian(rehearsal: Rehearsal) -> None:
    rehearsal.signal("guardian", signal.SIGKILL)


def with_a_hung_guardian(rehearsal: Rehearsal) -> None:
    rehearsal.signal("guardian", signal.SIGSTOP)


def with_a_hung_service(rehearsal: Rehearsal) -> None:
    without_guardian(rehearsal)
    rehearsal.signal("service", signal.SIGSTOP)


def without_any_process(rehearsal: Rehearsal) -> None:
    without_guardian(rehearsal)
    rehearsal.signal("service", signal.SIGKILL)


@pytest.mark.parametrize(
    ("fault", "tier"),
    [
        pytest.param(nothing, "control socket", id="all alive"),
        pytest.param(without_guardian, "control socket", id="guardian dead"),
        pytest.param(with_a_hung_guardian, "control socket", id="guardian hung"),
        pytest.param(with_a_hung_service, "restart on baseline", id="service hung"),
        pytest.param(without_any_process, "restart on baseline", id="every process dead"),
    ],
)
def test_rollback_puts_the_baseline_back(rehearsal: Rehearsal, fault: Callable[[Rehearsal], None], tier: str) -> None:
    assert rehearsal.on_candidate() == [LIVE]
    fault(rehearsal)

    done = rehearsal.run("rollback", "--name", "Ada", "--reason", "looks [wrong]", "--json")

    assert done.code == 0, done.said
    assert done.answer["rolled_back"] is True
    assert (done.answer["tier"], done.answer["symbols"]) == (tier, None)
    assert rehearsal.on_candidate() == []
    ended = rehearsal.records()[-1]
    assert (ended.type, ended.actor, ended.body["reason"]) == (RecordType.ROLLED_BACK, "Ada", "looks [wrong]")
    assert ended.body["seconds"] == done.answer["seconds"]


def test_a_restart_on_baseline_has_the_rollback_switches(rehearsal: Rehearsal) -> None:
    with_a_hung_service(rehearsal)

    rehearsal.run("rollback")

    environment = rehearsal.environment_of_service()
    assert (environment["STRATEGY_MODE"], environment["DYNAMIC_MODE_ENABLED"]) == ("quiet", "false")


def test_a_second_rollback_finds_the_first_and_looks_again(rehearsal: Rehearsal) -> None:
    rehearsal.run("rollback", "--name", "Ada")

    again = rehearsal.run("rollback", "--name", "Bob", "--json")

    assert again.code == 0
    assert again.answer["rolled_back"] is True
    assert rehearsal.types().count(RecordType.ROLLBACK_ORDERED) == 1


@pytest.mark.parametrize("command", ["rollback", "kill"])
def test_a_damaged_journal_stops_no_safety_command(rehearsal: Rehearsal, command: str) -> None:
    rehearsal.damage_journal()

    done = rehearsal.run(command, "--name", "Ada", "--reason", "why", "--json")

    assert done.code == 5
    assert (done.answer["journaled"], done.answer["tier"]) == (False, "control socket")
    assert "journal verify" in done.said
    assert rehearsal.on_candidate() == []
    assert rehearsal.status()["killed"] == ([] if command == "rollback" else sorted(rehearsal.spec.all_symbols))


def test_a_process_that_hangs_with_the_journals_lock_stops_no_rollback(rehearsal: Rehearsal) -> None:
    without_guardian(rehearsal)
    with (rehearsal.folder / "journal.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        done = rehearsal.run("rollback", "--json")

    assert done.code == 5
    assert "lock" in done.said
    assert rehearsal.on_candidate() == []


def test_a_service_that_cannot_start_again_is_stopped_and_the_exit_code_says_so(rehearsal: Rehearsal) -> None:
    without_any_process(rehearsal)
    (rehearsal.folder / "service" / "service.json").write_text("{}")

    done = rehearsal.run("rollback", "--json")

    assert done.code == 4
    assert (done.answer["rolled_back"], done.answer["tier"]) == (False, "service stopped")
    assert "trades nothing" in done.said


def test_one_symbol_is_taken_back_and_the_rollout_goes_on(rehearsal: Rehearsal) -> None:
    done = rehearsal.run("rollback", "--symbol", "ETHUSDT", "--name", "Ada", "--json")

    assert done.code == 0, done.said
    assert done.answer["symbols"] == [LIVE]
    assert rehearsal.on_candidate() == []
    assert json.loads(rehearsal.run("status", "--json").lines[-1])["outcome"] is None


@pytest.mark.parametrize(
    ("symbol", "code", "said"),
    [
        pytest.param("ETHUSD", 2, "--symbol", id="a symbol that is not served"),
        pytest.param("DOGEUSDT", 3, "does not run the candidate", id="a symbol that runs the baseline"),
    ],
)
def test_a_symbol_that_cannot_be_rolled_back_is_named(rehearsal: Rehearsal, symbol: str, code: int, said: str) -> None:
    done = rehearsal.run("rollback", "--symbol", symbol)

    assert done.code == code
    assert said in done.said
    assert rehearsal.on_candidate() == [LIVE]


@pytest.mark.parametrize(
    ("options", "killed"),
    [
        pytest.param(["--symbol", "ETHUSDT", "--symbol", "BTCUSDT"], ["BTCUSDT.simulated", LIVE], id="two symbols"),
        pytest.param([], None, id="all symbols"),
    ],
)
def test_kill_stops_trading_at_once(rehearsal: Rehearsal, options: list[str], killed: list[str] | None) -> None:
    without_guardian(rehearsal)

    done = rehearsal.run("kill", *options, "--name", "Ada", "--reason", "why", "--json")

    assert done.code == 0, done.said
    assert (done.answer["killed"], done.answer["flat"]) == (True, True)
    assert done.answer["symbols"] == killed
    status = rehearsal.status()
    assert status["killed"] == (killed or sorted(rehearsal.spec.all_symbols))
    assert status["flat"] is True
    assert rehearsal.types()[-2:] == [RecordType.KILL_ORDERED, RecordType.KILLED]


def test_kill_stops_a_service_that_does_not_answer(rehearsal: Rehearsal) -> None:
    with_a_hung_service(rehearsal)

    done = rehearsal.run("kill", "--name", "Ada", "--reason", "why", "--json")

    assert done.code == 4
    assert (done.answer["killed"], done.answer["flat"], done.answer["tier"]) == (True, False, "service stopped")
    assert rehearsal.types()[-1] is RecordType.KILLED


def test_a_held_rollout_stays_live_and_may_be_armed_again(rehearsal: Rehearsal) -> None:
    held = rehearsal.run("hold", "--name", "Ada", "--reason", "holiday", "--json")
    assert (held.code, held.answer["live"]) == (0, [LIVE])
    assert rehearsal.on_candidate() == [LIVE]

    armed = rehearsal.run("rearm", "--name", "Bob", "--reason", "back", "--json")

    assert (armed.code, armed.answer["attempt"]) == (0, 2)
    assert "graygate resume" in armed.said


def test_nobody_arms_what_runs_and_nobody_without_a_name(rehearsal: Rehearsal) -> None:
    assert rehearsal.run("rearm", "--name", "Ada", "--reason", "why").code == 3

    rehearsal.run("rollback")

    assert rehearsal.run("rearm", "--name", " ", "--reason", "why").code == 3


def test_a_drill_takes_back_and_puts_in_force_again(rehearsal: Rehearsal) -> None:
    done = rehearsal.run("drill", "--name", "Ada", "--json")

    assert done.code == 0, done.said
    assert done.answer["drilled"] is True
    assert rehearsal.on_candidate() == [LIVE]
    assert rehearsal.types()[-2:] == [RecordType.DRILL_ORDERED, RecordType.DRILLED]


def test_no_drill_without_a_guardian(rehearsal: Rehearsal) -> None:
    without_guardian(rehearsal)

    done = rehearsal.run("drill")

    assert done.code == 3
    assert "no guardian watches" in done.said
    assert rehearsal.on_candidate() == [LIVE]
    assert RecordType.DRILL_ORDERED not in rehearsal.types()


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        pytest.param(without_any_process, 0, id="every process dead"),
        pytest.param(lambda rehearsal: rehearsal.damage_journal(), 5, id="a damaged journal"),
        pytest.param(lambda rehearsal: (rehearsal.folder / "rollout.json").write_text("{"), 5, id="no specification"),
    ],
)
def test_baseline_starts_the_service_anew(rehearsal: Rehearsal, damage: Callable[[Rehearsal], None], code: int) -> None:
    damage(rehearsal)

    done = rehearsal.run("baseline", "--json")

    assert done.code == code, done.said
    assert done.answer["baseline"] is True
    assert rehearsal.on_candidate() == []
    assert rehearsal.environment_of_service()["DYNAMIC_MODE_ENABLED"] == "false"


def test_baseline_ends_the_rollout(rehearsal: Rehearsal) -> None:
    rehearsal.run("baseline", "--name", "Ada")

    wait_until(lambda: RecordType.ROLLED_BACK in rehearsal.types())
    assert rehearsal.run("resume").code == 3


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["rollback"], id="rolled back"),
        pytest.param(["kill", "--name", "Ada", "--reason", "why"], id="killed"),
        pytest.param(["baseline"], id="restarted on the baseline"),
        pytest.param(["hold", "--name", "Ada", "--reason", "why"], id="held"),
    ],
)
def test_what_was_stopped_goes_live_again_once_a_person_armed_it(rehearsal: Rehearsal, command: list[str]) -> None:
    assert rehearsal.run(*command).code == 0
    wait_until(lambda: rehearsal.types()[-1] not in (RecordType.ROLLBACK_ORDERED, RecordType.KILL_ORDERED))

    assert rehearsal.run("rearm", "--name", "Bob", "--reason", "repaired").code == 0
    wait_until(lambda: not rehearsal.is_switched_off())
    rehearsal.deploy()

    assert rehearsal.on_candidate() == [LIVE]
    assert rehearsal.types().count(RecordType.DRILLED) == 2


def test_safety_commands_load_nothing_heavy() -> None:
    modules = "graygate, tasks.safety, tasks.safety_commands, tasks.look_commands, tasks.health"
    code = f"import sys, {modules}; print(*(name for name in {HEAVY} if name in sys.modules))"

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True,
                          env=dict(os.environ))  # fmt: skip

    assert done.stdout.split() == []
