"""The command line on bad input, and what it must not load."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GRAYGATE = [sys.executable, "-m", "graygate"]

CANDIDATE = "extends: {root}/config/production_gray_10pct.yaml\n"


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*GRAYGATE, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("strategy: {{fusion: {{entr: 2}}}}", "strategy.fusion.entr", id="unknown key"),
        pytest.param("strategy: {{fusion: {{enter: .nan}}}}", "strategy.fusion.enter", id="not a number"),
        pytest.param("strategy: {{hysteresis: {{min_active_windows: lots}}}}", "min_active_windows", id="wrong type"),
        pytest.param("strategy: [", "line", id="not YAML"),
        pytest.param("symbols: [DOGECOINUSDT]", "DOGECOINUSDT", id="unknown symbol"),
        pytest.param("strategy: {{schedule: {{windows: ['9 to 5']}}}}", "schedule", id="malformed window"),
    ],
)
def test_a_wrong_candidate_is_refused_in_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "candidate.yaml"
    file.write_text((CANDIDATE + text).format(root=ROOT))

    done = run("rehearse", "--candidate", str(file), "--approve", "auto", "--home", str(tmp_path / "var"))

    assert done.returncode == 2
    assert str(file) in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--feed", "/no/such/folder"], "/no/such/folder", id="missing feed"),
        pytest.param(["--candidate", "/no/such/file.yaml"], "/no/such/file.yaml", id="missing candidate"),
        pytest.param(["--approve", "perhaps"], "--approve", id="unknown way to approve"),
        pytest.param(["--speed", "-1"], "--speed", id="negative speed"),
    ],
)
def test_a_wrong_option_is_refused_in_one_sentence(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = run("rehearse", "--home", str(tmp_path / "var"), *arguments)

    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "var").exists()


def test_a_production_plan_cannot_be_rehearsed(tmp_path: Path) -> None:
    done = run("rehearse", "--plan", "config/rollout.yaml", "--approve", "auto", "--home", str(tmp_path / "var"))

    assert done.returncode == 3
    assert "production" in done.stderr


def test_nothing_is_there_to_resume(tmp_path: Path) -> None:
    done = run("resume", "--home", str(tmp_path / "var"))

    assert done.returncode == 3
    assert "graygate rehearse" in done.stderr


def test_planning_and_rolling_back_do_not_load_prefect() -> None:
    code = "import sys, graygate, tasks.planning, tasks.act, engine.serve; sys.exit('prefect' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("command", ["rehearse", "resume", "approve", "rollback", "status", "verify"])
def test_help_has_an_example(command: str) -> None:
    done = run(command, "--help")

    assert done.returncode == 0
    assert "Example: graygate" in " ".join(done.stdout.split())
