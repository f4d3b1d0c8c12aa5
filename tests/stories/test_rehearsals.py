"""Whole rollouts as a user runs them: real service, real Prefect server, real Parquet."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.adapters.journal_file import FileJournal
from engine.adapters.processes import pid_of
from engine.clock import SystemClock
from engine.rollout.journal import Record, RecordType

ROOT = Path(__file__).resolve().parents[2]
GRAYGATE = [sys.executable, "-m", "graygate"]

pytestmark = [pytest.mark.prefect, pytest.mark.timeout(240)]

KEYS = {"outcome", "stages", "rollback_seconds", "report_html", "report_md", "journal", "evidence_digest"}


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for all stories: the embedded server migrates its database once."""
    return tmp_path_factory.mktemp("graygate") / "var"


def graygate(home: Path, *arguments: str) -> dict[str, Any]:
    """Run a command to its end and return the JSON object of its last line."""
    done = subprocess.run(
        [*GRAYGATE, *arguments, "--home", str(home), "--json"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def rehearse(home: Path, *arguments: str) -> dict[str, Any]:
    return graygate(home, "rehearse", "--approve", "auto", "--speed", "0", *arguments)


def journal_of(result: dict[str, Any]) -> list[Record]:
    return FileJournal(Path(result["journal"]), "", SystemClock()).records()


def types_of(result: dict[str, Any]) -> list[RecordType]:
    return [record.type for record in journal_of(result)]


def files_of(result: dict[str, Any]) -> dict[str, bytes]:
    folder = Path(result["journal"]).parent
    kept = [*folder.glob("windows/**/*.parquet"), *folder.glob("reports/*.html"), *folder.glob("reports/*.md")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


def wait_until(holds: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.2)


def test_a_sound_candidate_is_promoted_through_three_stages(home: Path) -> None:
    result = rehearse(home, "--seed", "1")

    assert set(result) == KEYS
    assert result["outcome"] == "promoted"
    assert [stage["verdict"] for stage in result["stages"]] == ["PASS", "PASS", "PASS"]
    assert [len(stage["symbols"]) for stage in result["stages"]] == [1, 4, 6]
    assert 0 < result["rollback_seconds"] < 60
    given = [record for record in journal_of(result) if record.type is RecordType.APPROVAL_GIVEN]
    assert all(record.body["automatic"] for record in given)
    assert "Simulated market" in Path(result["report_html"]).read_text()
    assert Path(result["report_md"]).name.startswith("GRAY_RELEASE_REPORT_")


def test_the_same_seed_gives_the_same_windows_and_reports_at_any_speed(home: Path) -> None:
    first = rehearse(home, "--seed", "3")
    before = files_of(first)

    again = graygate(home, "rehearse", "--approve", "auto", "--seed", "3", "--speed", "200")

    assert first["evidence_digest"] == again["evidence_digest"]
    assert files_of(again) == before


@pytest.mark.parametrize("seed", ["4"])
def test_a_bad_candidate_is_rolled_back_in_stage_one_without_asking(home: Path, seed: str) -> None:
    result = rehearse(home, "--candidate", "config/examples/bad_candidate.yaml", "--seed", seed)

    assert result["outcome"] == "rolled_back"
    assert [stage["stage"] for stage in result["stages"]] == ["10pct"]
    assert RecordType.APPROVAL_REQUESTED not in types_of(result)
    assert "proven" in Path(result["report_html"]).read_text()


def test_the_identical_candidate_is_never_rolled_back(home: Path) -> None:
    result = rehearse(home, "--candidate", "config/baseline.yaml", "--seed", "6")

    assert result["outcome"] == "promoted"
    assert "canary and baseline are identical" in Path(result["report_html"]).read_text()


def test_a_rollout_of_recorded_market_data_is_promoted(home: Path, set_a: Path) -> None:
    result = rehearse(home, "--feed", str(set_a))

    assert result["outcome"] == "promoted"
    assert len(result["stages"][-1]["symbols"]) == 6
    assert "Simulated market" not in Path(result["report_html"]).read_text()


def begun(home: Path, seed: str) -> tuple[subprocess.Popen[str], Path]:
    """Start a rehearsal in the background and return its command and folder once it observes."""
    arguments = ["rehearse", "--approve", "auto", "--seed", seed, "--speed", "25", "--home", str(home), "--json"]
    command = subprocess.Popen(
        [*GRAYGATE, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    folders: list[Path] = []

    def is_observing() -> bool:
        folders[:] = [path.parent for path in home.glob(f"rollouts/*seed-{seed}-*/journal.jsonl")]
        return bool(folders) and "StageStarted" in (folders[0] / "journal.jsonl").read_text()

    wait_until(is_observing)
    return command, folders[0]


def kill_flow(folder: Path) -> None:
    flow = pid_of("flow", folder)
    assert flow is not None
    os.kill(flow, signal.SIGKILL)


def assert_nothing_was_done_twice(result: dict[str, Any]) -> None:
    kinds = types_of(result)
    assert result["outcome"] in ("promoted", "held")
    assert kinds.count(RecordType.DEPLOYED) == len(result["stages"])
    assert kinds.count(RecordType.STAGE_STARTED) == len(result["stages"])
    assert kinds.count(RecordType.SERVICE_STARTED) == 1


def test_a_killed_flow_and_command_go_on_where_they_were_and_deploy_nothing_twice(home: Path) -> None:
    command, folder = begun(home, "7")
    kill_flow(folder)
    command.kill()
    command.wait(60)

    result = graygate(home, "resume", "--rollout", folder.name)

    assert_nothing_was_done_twice(result)
    assert types_of(result).count(RecordType.FLOW_STARTED) == 2


def test_a_killed_flow_is_stood_in_for_while_the_command_looks_on(home: Path) -> None:
    command, folder = begun(home, "2")
    kill_flow(folder)

    out, _ = command.communicate(timeout=200)
    result = dict(json.loads(out.strip().splitlines()[-1]))

    assert_nothing_was_done_twice(result)
    started = [record.body["who"] for record in journal_of(result) if record.type is RecordType.FLOW_STARTED]
    assert started == ["flow", "stand-in"]


def test_a_person_is_asked_in_the_terminal_and_what_they_say_is_journaled(home: Path) -> None:
    terminal, side = pty.openpty()
    arguments = ["rehearse", "--approve", "ask", "--seed", "8", "--speed", "0"]
    command = subprocess.Popen(
        [*GRAYGATE, *arguments, "--home", str(home)],
        cwd=ROOT,
        stdin=side,
        stdout=side,
        stderr=side,
        start_new_session=True,
    )
    os.close(side)
    shown = b""
    for question, answer in ((b"Decision", b"hold\n"), (b"Your name", b"Ada\n"), (b"Comment", b"not today\n")):
        while question not in shown:
            shown += os.read(terminal, 4096)
        shown = shown.split(question, 1)[1]
        time.sleep(0.3)
        os.write(terminal, answer)
    while True:
        try:
            if not os.read(terminal, 4096):
                break
        except OSError:
            break
    command.wait(60)

    journal = next(home.glob("rollouts/*seed-8*/journal.jsonl"))
    records = FileJournal(journal, "", SystemClock()).records()
    given = [record for record in records if record.type is RecordType.APPROVAL_GIVEN]
    assert [(record.body["decision"], record.body["name"], record.body["door"]) for record in given] == [
        ("hold", "Ada", "terminal")
    ]
    assert any(record.type is RecordType.HELD for record in records)


def test_a_truncated_evidence_file_is_named_and_nothing_is_decided_on_it(home: Path) -> None:
    result = rehearse(home, "--seed", "9")
    folder = Path(result["journal"]).parent
    assert all(item["same"] for item in graygate_verify(folder)["verdicts"])
    victim = next(folder.glob("windows/**/*.parquet"))
    victim.write_bytes(victim.read_bytes()[:-100])

    done = subprocess.run([*GRAYGATE, "verify", str(folder)], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert victim.name in done.stderr
    assert "Traceback" not in done.stderr


def graygate_verify(folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [*GRAYGATE, "verify", str(folder), "--json"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))
