"""A planned rehearsal with its real service and guardian, and the command line to steer it; no Prefect."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.loader import CONFIG_DIR
from engine.adapters.control_client import ControlledService
from engine.adapters.journal_file import FileJournal
from engine.adapters.processes import pid_of, start, start_service, stop
from engine.adapters.supervisor import PAUSED
from engine.clock import SystemClock
from engine.rollout.journal import Record, RecordType
from engine.rollout.spec import RolloutSpec
from tasks.planning import plan_rollout
from tasks.safety import open_controls

ROOT = Path(__file__).resolve().parents[1]
LIVE = "ETHUSDT.simulated"


@dataclass
class Ran:
    """What a command left behind."""

    code: int
    said: str
    lines: list[str]

    @property
    def answer(self) -> dict[str, Any]:
        """The JSON object of the last line."""
        return dict(json.loads(self.lines[-1]))


@dataclass
class Rehearsal:
    """One rollout's folder and processes."""

    home: Path
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def spec(self) -> RolloutSpec:
        return open_controls(self.folder).spec

    def run(self, *arguments: str, seconds: float = 60.0) -> Ran:
        """Run `graygate` in another process, as cron would."""
        done = subprocess.run(
            [sys.executable, "-m", "graygate", *arguments], cwd=ROOT, capture_output=True, text=True, check=False,
            timeout=seconds, env={**os.environ, **self.environment, "GRAYGATE_HOME": str(self.home)},
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done.returncode, " ".join(done.stderr.split()), done.stdout.splitlines())

    def start_service(self) -> None:
        start_service(self.folder)

    def start_guardian(self) -> None:
        start("guardian", [sys.executable, "-m", "engine.guard", str(self.folder)], self.folder)
        wait_until(lambda: RecordType.GUARDIAN_STARTED in self.types())

    def deploy(self) -> None:
        """Bring the candidate onto the first stage's symbol, through the guardian."""
        orders = open_controls(self.folder).orders
        orders.order_deploy("10pct", self.spec.symbols["10pct"])
        wait_until(lambda: orders.state().stage("10pct").is_deployed)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the service or the guardian, and wait for the end of one that is killed."""
        folder = self.folder / "service" if name == "service" else self.folder
        pid = pid_of(name, folder)
        assert pid is not None
        os.kill(pid, number)
        if number is signal.SIGKILL:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
            wait_until(lambda: pid_of(name, folder) is None)

    def records(self) -> list[Record]:
        return list(FileJournal(self.folder / "journal.jsonl", "", SystemClock()).records())

    def types(self) -> list[RecordType]:
        return [record.type for record in self.records()]

    def status(self) -> dict[str, Any]:
        """The service's own words."""
        return ControlledService(self.folder / "service" / "control.sock", timeout_s=5.0).status()

    def on_candidate(self) -> list[str]:
        """Symbols on which the signal path does not run the stable parameters."""
        status = self.status()
        return sorted(symbol for symbol, found in status["live"].items() if found != status["stable"])

    def is_switched_off(self) -> bool:
        """Whether the journal says that the service runs with the rollback switches."""
        return open_controls(self.folder).orders.state().is_switched_off

    def environment_of_service(self) -> dict[str, str]:
        pid = pid_of("service", self.folder / "service")
        pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
        return dict(pair.split("=", 1) for pair in pairs if "=" in pair)

    def damage_journal(self) -> None:
        """Change one letter in the middle of the journal."""
        path = self.folder / "journal.jsonl"
        path.write_bytes(path.read_bytes().replace(b'"Rita"', b'"Rito"', 1))

    def stop(self) -> None:
        for name, folder in (("guardian", self.folder), ("flow", self.folder), ("service", self.folder / "service")):
            with contextlib.suppress(AssertionError, ProcessLookupError):
                self.signal(name, signal.SIGCONT)
            stop(name, folder, patience_s=2.0)


def planned(home: Path) -> Rehearsal:
    """A rehearsal that is planned and not started."""
    folder = plan_rollout(
        home=home, plan_path=CONFIG_DIR / "rehearsal.yaml", candidate=None, feed=None, seed=1, speed=20.0,
        approve="ask", language="en", environment={}, requester="Rita",
    )  # fmt: skip
    (folder / PAUSED).touch()  # no stand-in walks the steps
    return Rehearsal(home, folder)


def running(home: Path) -> Iterator[Rehearsal]:
    """A rehearsal whose first stage is live on one symbol, with service and guardian."""
    rehearsal = planned(home)
    try:
        rehearsal.start_service()
        rehearsal.start_guardian()
        rehearsal.deploy()
        yield rehearsal
    finally:
        rehearsal.stop()


def wait_until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for something to be so; fails where it does not come."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
