"""Status, health and the journal's commands: what is shown, and that nothing unhealthy looks healthy."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.adapters.control_client import ControlledService
from engine.rollout.journal import RecordType
from tests.making_processes import LIVE, Rehearsal, planned, running


@pytest.fixture
def rehearsal(tmp_path: Path) -> Iterator[Rehearsal]:
    yield from running(tmp_path / "home")


def behind_everybodys_back(rehearsal: Rehearsal) -> None:
    """The service goes back to the baseline and the journal does not know why."""
    rehearsal.signal("guardian", signal.SIGSTOP)
    ControlledService(rehearsal.folder / "service" / "control.sock").roll_back(99)


def bad_checks(rehearsal: Rehearsal) -> tuple[int, set[str]]:
    done = rehearsal.run("health", "--json")
    assert done.answer["healthy"] is (done.code == 0)
    return done.code, {check["name"] for check in done.answer["checks"] if not check["is_ok"]}


def test_a_rollout_as_it_should_be_is_healthy(rehearsal: Rehearsal) -> None:
    assert bad_checks(rehearsal) == (0, set())


@pytest.mark.parametrize(
    ("fault", "bad"),
    [
        pytest.param(lambda r: r.signal("guardian", signal.SIGKILL), {"guardian"}, id="guardian dead"),
        pytest.param(behind_everybodys_back, {"live"}, id="not what was ordered"),
        pytest.param(lambda r: r.damage_journal(), {"journal"}, id="journal damaged"),
        pytest.param(lambda r: r.signal("service", signal.SIGSTOP), {"service"}, id="service hung"),
    ],
)
def test_what_is_wrong_is_named(rehearsal: Rehearsal, fault: Callable[[Rehearsal], None], bad: set[str]) -> None:
    if "service" in bad:
        rehearsal.signal("guardian", signal.SIGSTOP)  # it would restart the service
    fault(rehearsal)

    code, found = bad_checks(rehearsal)

    assert code == 4
    assert found >= bad


def test_a_rolled_back_rollout_is_healthy_without_a_guardian(rehearsal: Rehearsal) -> None:
    rehearsal.run("rollback")
    rehearsal.signal("guardian", signal.SIGKILL)

    assert bad_checks(rehearsal) == (0, set())


def test_a_service_that_is_stopped_is_not_healthy(rehearsal: Rehearsal) -> None:
    rehearsal.stop()

    code, found = bad_checks(rehearsal)

    assert code == 4
    assert "service" in found


def test_status_shows_guardian_lease_latch_and_attempt(rehearsal: Rehearsal) -> None:
    done = rehearsal.run("status", "--json")

    assert done.code == 0
    for said in ("Guardian: alive", "Lease: live", "Latch: none", "Attempt: 1", LIVE):
        assert said in done.said
    assert done.answer["guardian"] is True
    assert done.answer["service"]["lease"]["is_live"] is True


def test_status_of_what_does_not_run_says_so(tmp_path: Path) -> None:
    done = planned(tmp_path / "home").run("status", "--json")

    assert done.code == 0
    assert "does not answer" in done.said
    assert "Guardian: not running" in done.said


def test_the_journal_is_shown_as_sentences_or_as_whole_records(rehearsal: Rehearsal) -> None:
    sentences, lines = rehearsal.run("journal", "show"), rehearsal.run("journal", "show", "--json")

    assert any("Drilled" in line and "rollback drill done in" in line for line in sentences.lines)
    assert [json.loads(line)["seq"] for line in lines.lines] == [record.seq for record in rehearsal.records()]


def test_a_journal_is_verified_with_its_anchors(rehearsal: Rehearsal) -> None:
    done = rehearsal.run("journal", "verify", "--json")

    assert done.code == 0
    assert (done.answer["verified"], done.answer["anchors"]) == (True, 0)
    assert done.answer["records"] == len(rehearsal.records())


def test_a_changed_record_is_found_and_named(rehearsal: Rehearsal) -> None:
    rehearsal.damage_journal()

    done = rehearsal.run("journal", "verify")

    assert done.code == 5
    assert "line 1" in done.said or "line 2" in done.said


def test_an_anchor_of_a_longer_journal_is_found(rehearsal: Rehearsal) -> None:
    reports = rehearsal.folder / "reports"
    reports.mkdir()
    anchor = {"journal_seq": 999, "journal_head": "0" * 64}
    (reports / "final.anchor.json").write_text(json.dumps(anchor))

    done = rehearsal.run("journal", "verify")

    assert done.code == 5
    assert "final.anchor.json" in done.said


def test_the_rollout_that_changed_last_is_meant(tmp_path: Path) -> None:
    rehearsal = planned(tmp_path / "home")
    other = rehearsal.home / "rollouts" / "another"
    other.mkdir()
    (other / "rollout.json").write_bytes((rehearsal.folder / "rollout.json").read_bytes())
    (rehearsal.folder / "journal.head").touch()

    assert rehearsal.run("journal", "verify", "--json").answer["rollout"] == rehearsal.folder.name
    assert rehearsal.run("status", "--rollout", "nowhere").code == 3
    assert rehearsal.run("status", "--rollout", "../rollouts").code == 3
    assert RecordType.ROLLOUT_PLANNED in rehearsal.types()
