"""Processes of one machine: start them, know whether they live, stop them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from engine.adapters.control_client import ControlClient
from engine.errors import RefusedError, ServiceError

ROOT = Path(__file__).resolve().parents[2]

SERVICE_START_S = 60.0
STOP_S = 10.0

BASELINE_SWITCHES = {"STRATEGY_MODE": "quiet", "DYNAMIC_MODE_ENABLED": "false"}
"""The seed's rollback switches: a service started with them serves the baseline only."""


def start(name: str, command: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> int:
    """Start a process of its own session, logging to `folder`, and remember its pid there."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip
    (folder / f"{name}.pid").write_text(f"{process.pid} {started_at(process.pid)}")
    return process.pid


def pid_of(name: str, folder: Path) -> int | None:
    """Pid of a running process that `start` started there; None if it is gone or the pid is somebody else's."""
    try:
        pid_text, started = (folder / f"{name}.pid").read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid_text) if started == started_at(int(pid_text)) != "-" else None


def stop(name: str, folder: Path, patience_s: float = STOP_S) -> None:
    """Ask a process group to end, then make it."""
    pid = pid_of(name, folder)
    if pid is not None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(pid, number)
            except ProcessLookupError:
                break
            if until(lambda: _is_gone(pid), patience_s if number == signal.SIGTERM else STOP_S):
                break
    (folder / f"{name}.pid").unlink(missing_ok=True)


def start_service(
    folder: Path, environment: Mapping[str, str] | None = None, within_s: float = SERVICE_START_S
) -> None:
    """Start the signal service of a rollout and wait until it answers.

    Raises its own sentence if it refuses to start, ServiceError if it does not answer.
    """
    state = folder / "service"
    for stale in ("control.sock", "http_port", "service.log"):
        (state / stale).unlink(missing_ok=True)
    start("service", [sys.executable, "-m", "engine.serve", str(state / "service.json")], state, environment)
    wait_for_service(folder, lambda: pid_of("service", state) is None, within_s)


def wait_for_service(
    folder: Path, has_ended: Callable[[], bool] = lambda: False, within_s: float = SERVICE_START_S
) -> None:
    """Return once the service of a rollout answers. Raises ServiceError with what it said last."""
    state = folder / "service"
    client = ControlClient(state / "control.sock", timeout_s=2.0)
    if not until(lambda: _answers(client) or has_ended(), within_s) or not _answers(client):
        log = state / "service.log"
        last = (log.read_text().strip().splitlines()[-1:] if log.exists() else []) or ["it wrote nothing"]
        raise ServiceError(f"the service did not start: {last[0]}")


def _answers(client: ControlClient) -> bool:
    try:
        client.call("status")
    except (ServiceError, RefusedError):
        return False
    return True


def started_at(pid: int) -> str:
    """Start time of a process in clock ticks since boot: with it a pid means one process only. "-" if gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "-"
    return "-" if fields[0] == "Z" else fields[19]


def _is_gone(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return started_at(pid) == "-"


def until(holds: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.1)
    return holds()
