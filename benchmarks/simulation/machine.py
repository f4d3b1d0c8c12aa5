"""What the processes of a simulated machine share: its disk and its clock, seen from inside a process."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.simulation.hub import Hub
from engine.adapters.disk import LOCK_S, Stat
from engine.adapters.disk_model import FakeDisk
from engine.clock import NS_PER_S

FLOW_POLL_S = 2.0
"""A flow that waits looks so often at least, when its market time is reached, and at once when something has changed:
what it saw in between is the same as what it saw before."""


class SharedDisk:
    """A modelled disk that several processes use: each operation is a moment at which one may be killed or interrupted.

    A lock that is taken is waited for, as long as `RealDisk` does.
    """

    def __init__(self, disk: FakeDisk, hub: Hub) -> None:
        self._disk = disk
        self._hub = hub
        self._held: set[Path] = set()

    @property
    def is_held(self) -> bool:
        """Whether some process holds a lock."""
        return bool(self._held)

    def stat(self, path: Path) -> Stat | None:
        return self._disk.stat(path)

    def list(self, folder: Path) -> list[str]:
        return self._disk.list(folder)

    def read(self, path: Path, offset: int = 0, size: int | None = None) -> bytes:
        self._hub.operation()
        return self._disk.read(path, offset, size)

    def append(self, path: Path, data: bytes) -> int:
        self._hub.operation()
        return self._disk.append(path, data)

    def overwrite(self, path: Path, offset: int, data: bytes) -> int:
        self._hub.operation()
        return self._disk.overwrite(path, offset, data)

    def allocate(self, path: Path, size: int) -> None:
        self._hub.operation()
        self._disk.allocate(path, size)

    def truncate(self, path: Path, size: int) -> None:
        self._hub.operation()
        self._disk.truncate(path, size)

    def sync(self, path: Path) -> None:
        self._hub.operation()
        self._disk.sync(path)

    def sync_folder(self, folder: Path) -> None:
        self._hub.operation()
        self._disk.sync_folder(folder)

    def rename(self, old: Path, new: Path) -> None:
        self._hub.operation()
        self._disk.rename(old, new)

    def remove(self, path: Path) -> None:
        self._hub.operation()
        self._disk.remove(path)

    @contextmanager
    def lock(self, path: Path) -> Iterator[None]:
        self._hub.operation()
        until_ns = self._hub.now_ns() + round(LOCK_S * NS_PER_S)
        while path in self._held:
            if self._hub.now_ns() >= until_ns:
                raise OSError(errno.ETIMEDOUT, "another process has held the lock for too long", str(path))
            self._hub.block((until_ns - self._hub.now_ns()) / NS_PER_S)
        self._held.add(path)
        try:
            with self._disk.lock(path):
                yield
        finally:
            self._held.discard(path)
            self._hub.unblock()


class ProcessClock:
    """The machine's clock, for a process: sleeping lets the others run."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def now_ns(self) -> int:
        return self._hub.clock.now_ns()

    def mono_ns(self) -> int:
        return self._hub.clock.mono_ns()

    def boot_id(self) -> str:
        return self._hub.clock.boot_id()

    def sleep(self, seconds: float) -> None:
        self._hub.operation()
        self._hub.sleep(seconds)


class PollingClock(ProcessClock):
    """A clock for a process whose every sleep is one between two looks at the same thing.

    `due_ns` says when what it waits for is there, as elapsed time, if that is known.
    """

    def __init__(self, hub: Hub, due_ns: Callable[[], int | None]) -> None:
        super().__init__(hub)
        self._due_ns = due_ns

    def sleep(self, seconds: float) -> None:
        self._hub.operation()
        due_ns = self._due_ns()
        left_s = FLOW_POLL_S if due_ns is None else (due_ns - self._hub.now_ns()) / NS_PER_S
        at_most_s = FLOW_POLL_S if left_s < -FLOW_POLL_S else min(left_s, FLOW_POLL_S)
        self._hub.sleep(seconds, at_most_s=max(at_most_s, seconds))
