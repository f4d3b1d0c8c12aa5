"""Whoever starts and stops the processes of a rollout: this machine's embedded supervisor, or systemd."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.adapters.processes import (
    BASELINE_SWITCHES,
    SERVICE_START_S,
    pid_of,
    start,
    start_service,
    stop,
    until,
    wait_for_service,
)
from engine.errors import ServiceError
from engine.rollout.ports import Supervisor

RESTART_S = 75.0
"""How long another's restart is waited for."""

GRACE_S = 0.3
"""How long a process that has to go may take to go by itself."""

SYSTEMCTL_S = 30
"""How long systemd may take to do what it is told: it waits TimeoutStopSec for a process to end."""

PAUSED = "flow.paused"
"""File that says: the flow was stopped on purpose, nobody shall take its place."""

BASELINE_START_S = 15.0
"""How long a start on the baseline may take: three attempts stay within the promised minute."""

SWITCHES = "switches.env"
"""File beside the service with the environment it starts with; systemd reads the same file."""


class EmbeddedSupervisor:
    """The service of a rollout's folder as a child of nobody: known by pid and start time, killed as a group."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._state = folder / "service"

    def is_alive(self) -> bool:
        return pid_of("service", self._state) is not None

    def restart(self, *, on_baseline: bool) -> None:
        with restarting(self._state) as was_first:
            switches = BASELINE_SWITCHES if on_baseline else {}
            if not was_first and self.is_alive() and has_switches(self._state, switches):
                return  # somebody else has just restarted it, as safely as it is wanted here
            stop("service", self._state, patience_s=GRACE_S)
            if on_baseline:
                void_lease(self._state)
            write_switches(self._state, switches)
            start_service(self._folder, switches, BASELINE_START_S if on_baseline else SERVICE_START_S)

    def stop(self) -> None:
        stop("service", self._state, patience_s=GRACE_S)
        void_lease(self._state)
        if self.is_alive():
            raise ServiceError(f"the service of {self._folder} cannot be killed; take its host off the network")


class SystemdSupervisor:
    """The service as a systemd unit: `graygate-service@NAME.service`, NAME being the rollout's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unit = f"graygate-service@{folder.name}.service"

    def is_alive(self) -> bool:
        return self._systemctl("is-active", "--quiet") == 0

    def restart(self, *, on_baseline: bool) -> None:
        with restarting(self._folder / "service") as was_first:
            switches = BASELINE_SWITCHES if on_baseline else {}
            if not was_first and self.is_alive() and has_switches(self._folder / "service", switches):
                return
            write_switches(self._folder / "service", switches)
            self._systemctl("kill", "--signal=SIGKILL")
            self._systemctl("reset-failed")
            if on_baseline:
                void_lease(self._folder / "service")
            for stale in ("control.sock", "http_port", "service.log"):
                (self._folder / "service" / stale).unlink(missing_ok=True)
            if self._systemctl("restart") != 0:
                raise ServiceError(f"systemd does not start {self._unit}; see journalctl --user -u {self._unit}")
            wait_for_service(self._folder, lambda: not self.is_alive())

    def stop(self) -> None:
        is_stopped = self._systemctl("stop") == 0
        void_lease(self._folder / "service")
        if not is_stopped or self.is_alive():
            raise ServiceError(f"systemd does not stop {self._unit}; take its host off the network")

    def _systemctl(self, verb: str, *options: str) -> int:
        return systemctl(self._unit, verb, *options)


def supervisor_of(folder: Path) -> Supervisor:
    """The supervisor of a folder: systemd where GRAYGATE_SUPERVISOR says so, the embedded one else."""
    return SystemdSupervisor(folder) if _is_systemd() else EmbeddedSupervisor(folder)


class FlowStandIn:
    """A process that walks the steps of a rollout without an orchestrator, in the flow's place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def is_working(self) -> bool:
        return pid_of("flow", self._folder) is not None or (self._folder / PAUSED).exists()

    def start(self) -> None:
        stop("flow", self._folder, patience_s=GRACE_S)
        start("flow", [sys.executable, "-m", "tasks.walk", str(self._folder.resolve())], self._folder)


def _is_taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def void_lease(state: Path) -> None:
    """Whatever the service had in force must not come back with a lease that still runs."""
    (state / "lease.json").unlink(missing_ok=True)


def write_switches(state: Path, switches: dict[str, str]) -> None:
    """Write the environment that the service starts with."""
    state.mkdir(parents=True, exist_ok=True)
    (state / SWITCHES).write_text("".join(f"{name}={value}\n" for name, value in switches.items()))


def switches_of(state: Path) -> dict[str, str]:
    """The environment that the service was last started with, as far as it is ours."""
    try:
        lines = (state / SWITCHES).read_text().splitlines()
    except OSError:
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line)


def has_switches(state: Path, switches: dict[str, str]) -> bool:
    """Whether the service was last started with these switches at least."""
    return switches_of(state).items() >= switches.items()


def start_guardian(folder: Path) -> None:
    """Start the guardian of a rollout; it refuses to be the second. Raises ServiceError if systemd does not obey."""
    if not _is_systemd():
        start("guardian", [sys.executable, "-m", "engine.guard", str(folder.resolve())], folder)
    elif systemctl(_guardian_unit(folder), "restart") != 0:
        raise ServiceError(f"systemd does not start {_guardian_unit(folder)}; see journalctl --user")


def stop_guardian(folder: Path) -> None:
    """Stop the guardian of a rollout: nothing renews the lease then."""
    if _is_systemd():
        systemctl(_guardian_unit(folder), "stop")
    stop("guardian", folder)


def _guardian_unit(folder: Path) -> str:
    return f"graygate-guardian@{folder.name}.service"


def _is_systemd() -> bool:
    return os.environ.get("GRAYGATE_SUPERVISOR") == "systemd"


def systemctl(unit: str, verb: str, *options: str) -> int:
    """Run systemctl of this user on a unit and return its exit code."""
    command = ["systemctl", "--user", verb, *options, unit]
    return subprocess.run(command, capture_output=True, timeout=SYSTEMCTL_S, check=False).returncode


def guardian_is_alive(folder: Path) -> bool:
    """Whether a guardian watches a rollout, whoever started it: it holds a lock, and taking that would stop one."""
    try:
        inode = (folder / "guardian.lock").stat().st_ino
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" not in line]
    except OSError:
        return False
    holders = [int(lock[4]) for lock in locks if lock[1] == "FLOCK" and int(lock[5].rpartition(":")[2]) == inode]
    return any(b"engine.guard" in _command_line(pid) for pid in holders)


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@contextmanager
def restarting(state: Path) -> Iterator[bool]:
    """Hold the restart of a service; False for one who had to wait for another's restart.

    One that takes longer than a restart may take is not waited for any more: its process may be frozen.
    """
    with (state / "restart.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            was_first = True
        except BlockingIOError:
            until(lambda: _is_taken(lock.fileno()), RESTART_S)
            was_first = False
        yield was_first
