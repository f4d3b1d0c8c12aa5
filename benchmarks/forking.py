"""Real processes that start at once: this process has everything loaded and compiled, and forks.

A child runs the same `main` as `python -m ...` would, in a session of its own. It may carry a
`Doom`: SIGKILL at its n-th step to the outside, before or after that step.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.adapters import control, control_client, processes
from engine.adapters.disk import RealDisk

DISK_STEPS = ("append", "overwrite", "sync", "rename", "truncate", "sync_folder")


@dataclass(frozen=True)
class Doom:
    """Die at step `number`, counted from 1: operations of the journal's disk and commands of the control socket."""

    number: int
    after: bool


def spawn(name: str, main: Callable[[], int], argument: Path, folder: Path, doom: Doom | None = None) -> int:
    """Fork a child that runs `main` with one argument, known in `folder` by `name` as if `processes.start` had."""
    folder.mkdir(parents=True, exist_ok=True)
    pid = os.fork()
    if pid == 0:
        _be(name, main, argument, folder, doom)
    (folder / f"{name}.pid").write_text(f"{pid} {processes.started_at(pid)}")
    return pid


def _be(name: str, main: Callable[[], int], argument: Path, folder: Path, doom: Doom | None) -> None:
    """The child's life. Never returns."""
    code = 1
    try:
        os.setsid()
        log = os.open(folder / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        sys.argv = [name, str(argument)]
        if doom is not None:
            doom_this_process(doom)
        code = main()
    finally:
        os._exit(code)


def doom_this_process(doom: Doom) -> None:
    """Let this process kill itself at a step of its own."""
    steps = 0

    def counted(step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal steps
            steps += 1
            is_last = steps == doom.number
            if is_last and not doom.after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = step(*arguments, **named)
            if is_last:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for name in DISK_STEPS:
        setattr(RealDisk, name, counted(getattr(RealDisk, name)))
    control_client.ControlClient.call = counted(control_client.ControlClient.call)  # type: ignore[method-assign]
    answer = control._run

    async def answered(*arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        is_last = steps == doom.number
        if is_last and not doom.after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = await answer(*arguments)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    control._run = answered


def reap(pid: int, *, wait: bool = False) -> int | None:
    """Return how a child ended: minus the signal, or its exit code; None while it runs."""
    try:
        gone, status = os.waitpid(pid, 0 if wait else os.WNOHANG)
    except ChildProcessError:
        return 0
    return None if gone == 0 else os.waitstatus_to_exitcode(status)
