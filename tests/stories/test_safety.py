"""What goes on when parts of a running rollout die: real processes, killed for real."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.adapters.processes import pid_of
from engine.rollout.journal import Record, RecordType
from tasks.wiring import Wiring, open_rollout

ROOT = Path(__file__).resolve().parents[2]
GRAYGATE = [sys.executable, "-m", "graygate"]

pytestmark = [pytest.mark.prefect, pytest.mark.timeout(280)]


class Running:
    """A rehearsal in the background, watched from outside."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self.home = home
        command = [*GRAYGATE, "rehearse", "--approve", "auto", *arguments, "--home", str(home), "--json"]
        self.log = (home.parent / f"{home.name}.err").open("w")
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=self.log, text=True)

    def wiring(self) -> Wiring:
        """The rollout, once it is planned."""
        self.until(lambda: any(self.home.glob("rollouts/*/journal.jsonl")))
        return open_rollout(next(self.home.glob("rollouts/*/journal.jsonl")).parent)

    def until(self, holds: Callable[[], bool], seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.05)

    def until_observing(self, wiring: Wiring, stage: str = "10pct") -> None:
        self.until(lambda: wiring.state().stage(stage).start_ns is not None)

    def result(self) -> dict[str, Any]:
        """What it prints at its end."""
        out, _ = self.process.communicate(timeout=240)
        return dict(json.loads(out.strip().splitlines()[-1]))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def begin(*arguments: str, home: str = "var") -> Running:
        started.append(Running(tmp_path / home, *arguments))
        return started[-1]

    yield begin
    for running in started:
        running.process.kill()
        running.process.wait()
        for folder in running.home.glob("rollouts/*"):
            for name, place in (("guardian", folder), ("flow", folder), ("service", folder / "service")):
                kill(name, place)
        kill("prefect", running.home / "prefect")


def kill(name: str, folder: Path, number: int = signal.SIGKILL) -> None:
    pid = pid_of(name, folder)
    if pid is not None:
        os.killpg(pid, number)


def of_type(wiring: Wiring, kind: RecordType) -> list[Record]:
    return [record for record in wiring.journal.records() if record.type is kind]


def test_without_its_database_prefect_changes_nothing_but_the_pretty_history(start: Callable[..., Running]) -> None:
    reference = start("--seed", "12", "--speed", "0", home="reference").result()

    running = start("--seed", "12", "--speed", "20")
    wiring = running.wiring()
    running.until_observing(wiring)
    kill("prefect", running.home / "prefect")
    for path in (running.home / "prefect").glob("prefect.db*"):
        path.unlink()
    result = running.result()

    assert result["outcome"] == reference["outcome"]
    assert result["evidence_digest"] == reference["evidence_digest"]
    assert [stage["windows"] for stage in result["stages"]] == [stage["windows"] for stage in reference["stages"]]
    assert of_type(wiring, RecordType.FLOW_STARTED)[-1].body["who"] == "stand-in"
    assert not of_type(wiring, RecordType.ROLLED_BACK)


def test_a_service_that_dies_in_a_stage_comes_back_on_the_baseline_and_the_rollout_goes_back(
    start: Callable[..., Running],
) -> None:
    running = start("--seed", "13", "--speed", "20")
    wiring = running.wiring()
    running.until_observing(wiring)

    kill("service", wiring.folder / "service")
    running.until(lambda: wiring.state().outcome == "rolled_back", seconds=30)

    status = wiring.service.status()
    assert set(status["live"].values()) == {status["stable"]}
    assert "crashed" in wiring.state().reason
    assert running.result()["outcome"] == "rolled_back"


def test_a_service_that_hangs_with_its_door_open_is_restarted_on_the_baseline(start: Callable[..., Running]) -> None:
    running = start("--seed", "14", "--speed", "20")
    wiring = running.wiring()
    running.until_observing(wiring)

    kill("service", wiring.folder / "service", signal.SIGSTOP)
    running.until(lambda: wiring.state().outcome == "rolled_back", seconds=60)

    assert of_type(wiring, RecordType.ROLLED_BACK)[0].body["tier"] == "restart on baseline"
    status = wiring.service.status()
    assert set(status["live"].values()) == {status["stable"]}


def test_a_guardian_that_dies_and_returns_in_time_costs_nothing(start: Callable[..., Running]) -> None:
    running = start("--seed", "1", "--speed", "20")
    wiring = running.wiring()
    running.until_observing(wiring)

    kill("guardian", wiring.folder)
    subprocess.Popen(
        [sys.executable, "-m", "engine.guard", str(wiring.folder)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    result = running.result()

    assert result["outcome"] == "promoted"
    assert len(of_type(wiring, RecordType.GUARDIAN_STARTED)) == 2


def test_the_baseline_comes_back_with_everything_dead_but_the_service(start: Callable[..., Running]) -> None:
    running = start("--seed", "15", "--speed", "20")
    wiring = running.wiring()
    running.until_observing(wiring)
    running.process.kill()
    kill("guardian", wiring.folder)
    kill("flow", wiring.folder)
    kill("prefect", running.home / "prefect")

    command = [*GRAYGATE, "rollback", "--name", "Ada", "--home", str(running.home), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    status = wiring.service.status()
    assert set(status["live"].values()) == {status["stable"]}
    assert wiring.state().outcome == "rolled_back"


def test_a_journal_with_a_changed_record_stops_the_guardian_and_costs_the_candidate_its_place(
    start: Callable[..., Running],
) -> None:
    running = start("--seed", "16", "--speed", "20")
    wiring = running.wiring()
    running.until_observing(wiring)
    running.process.kill()
    kill("flow", wiring.folder)
    kill("guardian", wiring.folder)
    path = wiring.folder / "journal.jsonl"
    shutil.copy(path, path.with_suffix(".kept"))
    path.write_text(path.read_text().replace('"seq":2', '"seq":3', 1))

    done = subprocess.run(
        [sys.executable, "-m", "engine.guard", str(wiring.folder)], cwd=ROOT, capture_output=True, text=True,
        timeout=20, check=False,
    )  # fmt: skip

    assert done.returncode == 5
    assert "Traceback" not in done.stderr
    assert "journal" in done.stderr
