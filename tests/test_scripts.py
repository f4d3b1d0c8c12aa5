"""The scripts of the gray release: short, runnable from cron, and the written rollback strategy works as it stands."""

import os
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.making_processes import ROOT, Rehearsal, planned, running

FOLDER = ROOT / "scripts" / "gray_release"
SCRIPTS = ("start_10pct", "start_50pct", "start_full", "stop", "rollback", "start_baseline", "health_check")
ROLLBACK_PAGE = ROOT / "docs" / "GRAY_RELEASE_ROLLBACK.md"


def as_cron(command: list[str], home: Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run without a terminal, a user, a working folder or a search path of one's own."""
    environment = {"GRAYGATE_HOME": str(home), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip


@pytest.fixture
def rehearsal(tmp_path: Path) -> Iterator[Rehearsal]:
    yield from running(tmp_path / "home")


def test_the_seven_scripts_are_there_and_no_other() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_a_thin_door(name: str) -> None:
    path = FOLDER / f"{name}.sh"
    text = path.read_text()

    assert len(text.splitlines()) <= 15
    assert path.stat().st_mode & stat.S_IXUSR
    assert "set -eu" in text
    assert "Exit codes: 0" in text
    assert subprocess.run(["sh", "-n", str(path)], check=False).returncode == 0


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_passes_arguments_and_exit_codes_through(name: str, tmp_path: Path) -> None:
    done = as_cron([str(FOLDER / f"{name}.sh"), "--rollout", "no-such-rollout"], tmp_path, tmp_path)

    # The first stage plans a rollout of its own.
    code, said = (2, "--rollout") if name == "start_10pct" else (3, "no-such-rollout")
    assert (done.returncode, said in done.stderr) == (code, True)


def test_a_script_may_be_called_from_its_own_folder(tmp_path: Path) -> None:
    planned(tmp_path)

    assert as_cron(["sh", "health_check.sh"], tmp_path, FOLDER).returncode == 4


def test_health_and_rollback_from_cron(rehearsal: Rehearsal, tmp_path: Path) -> None:
    line = f"{FOLDER}/health_check.sh || {FOLDER}/rollback.sh --reason 'not healthy'"
    assert as_cron(["sh", "-c", line], rehearsal.home, tmp_path).returncode == 0
    assert rehearsal.on_candidate() != []
    rehearsal.damage_journal()

    done = as_cron(["sh", "-c", line], rehearsal.home, tmp_path)

    assert done.returncode == 5
    assert rehearsal.on_candidate() == []


def test_the_rollback_strategy_works_as_it_is_written(rehearsal: Rehearsal) -> None:
    page = ROLLBACK_PAGE.read_text(encoding="utf-8")
    written = re.search(r"## The four steps\n.*?```sh\n(.*?)```", page, re.DOTALL)
    assert written is not None

    done = as_cron(["sh", "-eu", "-c", written[1]], rehearsal.home, ROOT)

    assert done.returncode == 0, done.stderr
    assert rehearsal.on_candidate() == []
    assert rehearsal.environment_of_service()["STRATEGY_MODE"] == "quiet"
    assert os.environ.get("STRATEGY_MODE") is None
