"""The caller's side of the control door. It loads nothing but sockets, so that a guardian is there at once."""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.errors import RefusedError, ServiceError


class ControlClient:
    """Sends commands to a service."""

    def __init__(self, path: Path, timeout_s: float = 5.0) -> None:
        self._path = path
        self._timeout_s = timeout_s

    def call(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send one command and return its answer. Raises ServiceError, RefusedError."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
                door.settimeout(self._timeout_s)
                with inside(self._path.parent):
                    door.connect(self._path.name)
                door.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
                with door.makefile("rb") as lines:
                    answer = json.loads(lines.readline() or b"{}")
        except (OSError, ValueError) as error:
            raise ServiceError(f"the service at {self._path} does not answer {command} ({error})") from error
        if answer.get("ok"):
            return dict(answer)
        message = answer.get("error", "no answer")
        raise RefusedError(message) if answer.get("refused") else ServiceError(f"{command}: {message}")


class ControlledService:
    """A running service as those see it who steer it. Each method raises ServiceError where it does not answer."""

    def __init__(self, control_socket: Path, timeout_s: float = 5.0) -> None:
        self._control = ControlClient(control_socket, timeout_s)

    def status(self) -> dict[str, Any]:
        """Market clock, live fingerprints, epoch, lease, latch, what is killed, health."""
        return self._control.call("status")

    def play(self, until_ns: int) -> None:
        """Let the market run up to a market time. Raises RefusedError when the feed ends before."""
        self._control.call("play", until_ns=until_ns)

    def apply(self, **deployment: Any) -> dict[str, Any]:
        """Deploy candidate parameters on all symbols or none. Raises RefusedError, also without a live lease."""
        return self._control.call("apply", **deployment)

    def roll_back(self, epoch: int, symbols: list[str] | None = None) -> dict[str, Any]:
        """Make the baseline live on these symbols, on all if None. Raises RefusedError for an older epoch."""
        return self._control.call("roll_back", epoch=epoch, symbols=symbols)

    def renew(self, epoch: int) -> dict[str, Any]:
        """Renew the lease without which no candidate stays live. Raises RefusedError for an older epoch."""
        return self._control.call("renew", epoch=epoch)

    def kill(self, epoch: int, symbols: list[str] | None = None) -> dict[str, Any]:
        """Baseline, flat and no more orders until `rearm`. Raises RefusedError for an older epoch."""
        return self._control.call("kill", epoch=epoch, symbols=symbols)

    def rearm(self, epoch: int) -> dict[str, Any]:
        """Forget latch and kill. Raises RefusedError unless the epoch is above that of both."""
        return self._control.call("rearm", epoch=epoch)


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder for a moment: socket names are too short for absolute paths."""
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(folder)
        yield
    finally:
        os.fchdir(before)
        os.close(before)
