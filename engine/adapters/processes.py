"""Processes of one machine: start them, know whether they live, stop them."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx

from engine.adapters.control import ControlClient
from engine.errors import GraygateError, RefusedError, ServiceError

ROOT = Path(__file__).resolve().parents[2]

SERVICE_START_S = 60.0
PREFECT_START_S = 120.0
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
    (folder / f"{name}.pid").write_text(f"{process.pid} {_started_at(process.pid)}")
    return process.pid


def pid_of(name: str, folder: Path) -> int | None:
    """Pid of a running process that `start` started there; None if it is gone or the pid is somebody else's."""
    try:
        pid_text, started = (folder / f"{name}.pid").read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid_text) if started == _started_at(int(pid_text)) != "-" else None


def stop(name: str, folder: Path) -> None:
    """Ask a process group to end, then make it."""
    pid = pid_of(name, folder)
    if pid is not None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(pid, number)
            except ProcessLookupError:
                break
            if _until(lambda: _is_gone(pid), STOP_S):
                break
    (folder / f"{name}.pid").unlink(missing_ok=True)


def start_service(folder: Path, environment: Mapping[str, str] | None = None) -> None:
    """Start the signal service of a rollout and wait until it answers.

    Raises its own sentence if it refuses to start, ServiceError if it does not answer.
    """
    state = folder / "service"
    for stale in ("control.sock", "http_port", "service.log"):
        (state / stale).unlink(missing_ok=True)
    start("service", [sys.executable, "-m", "engine.serve", str(state / "service.json")], state, environment)
    client = ControlClient(state / "control.sock", timeout_s=2.0)
    if not _until(lambda: _answers(client) or pid_of("service", state) is None, SERVICE_START_S) or not _answers(
        client
    ):
        last = (state / "service.log").read_text().strip().splitlines()[-1:] or ["it wrote nothing"]
        raise ServiceError(f"the service did not start: {last[0]}")


def restart_on_baseline(folder: Path) -> None:
    """Stop the service, start it with the rollback switches, wait until it answers."""
    stop("service", folder / "service")
    start_service(folder, BASELINE_SWITCHES)


def prefect_environment(home: Path, port: int) -> dict[str, str]:
    """Settings of the embedded server and of everything that talks to it: loopback, closed to other pages."""
    own = f"http://127.0.0.1:{port}"
    return {
        "PREFECT_HOME": str(home.resolve()),
        "PREFECT_API_URL": f"{own}/api",
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_UI_API_URL": f"{own}/api",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": own,
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "DO_NOT_TRACK": "1",
        # A proxy of the machine is never asked for the loopback.
        "NO_PROXY": "127.0.0.1,localhost",
    }


def start_prefect(home: Path) -> dict[str, str]:
    """Start the embedded Prefect server, or find it running; return the environment its clients need."""
    home.mkdir(parents=True, exist_ok=True)
    port = _remembered_port(home)
    environment = prefect_environment(home, port)
    if pid_of("prefect", home) is None:
        start("prefect", [sys.executable, "-m", "prefect", "server", "start"], home, environment)
    return environment


def wait_for_prefect(home: Path, environment: Mapping[str, str]) -> None:
    """Return once the server is healthy. Raises GraygateError with what it said last."""
    health = f"{environment['PREFECT_API_URL']}/health"
    if not _until(lambda: _is_healthy(health) or pid_of("prefect", home) is None, PREFECT_START_S) or not _is_healthy(
        health
    ):
        last = (home / "prefect.log").read_text().strip().splitlines()[-1:] or ["it wrote nothing"]
        raise GraygateError(f"the Prefect server did not start: {last[0]} (see {home / 'prefect.log'})")


def _remembered_port(home: Path) -> int:
    path = home / "port"
    if pid_of("prefect", home) is not None:
        return int(path.read_text())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    path.write_text(str(port))
    return port


def _is_healthy(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _answers(client: ControlClient) -> bool:
    try:
        client.call("status")
    except (ServiceError, RefusedError):
        return False
    return True


def _started_at(pid: int) -> str:
    """Start time of a process in clock ticks since boot: with it a pid means one process only. "-" if gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "-"
    return "-" if fields[0] == "Z" else fields[19]


def _is_gone(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return _started_at(pid) == "-"


def _until(holds: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.1)
    return holds()
