"""The few things the journal asks of a file system, so that its crashes can be tried on a modelled one."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol


class Stat(NamedTuple):
    """What a path names: which file, how many bytes, when it was last changed (a label, to be compared only)."""

    identity: int
    size: int
    changed_ns: int


class Disk(Protocol):
    """Files and one folder. Every method but `stat`, `list` and `read` may raise OSError for what is missing."""

    def stat(self, path: Path) -> Stat | None:
        """What the path names, None if there is nothing."""

    def list(self, folder: Path) -> list[str]:
        """Names in a folder, sorted; none if there is no such folder."""

    def read(self, path: Path, offset: int = 0, size: int | None = None) -> bytes:
        """Bytes from an offset on; none if there is no such file."""

    def append(self, path: Path, data: bytes) -> int:
        """Write once at the end, creating the file; return how many bytes were written."""

    def overwrite(self, path: Path, offset: int, data: bytes) -> int:
        """Write once in place, creating the file; return how many bytes were written."""

    def allocate(self, path: Path, size: int) -> None:
        """Create a file whose bytes are taken from the free space; leave nothing if they are not there."""

    def truncate(self, path: Path, size: int) -> None:
        """Cut a file."""

    def sync(self, path: Path) -> None:
        """Return once the file's bytes survive a loss of power."""

    def sync_folder(self, folder: Path) -> None:
        """Return once the names in the folder survive a loss of power."""

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name."""

    def remove(self, path: Path) -> None:
        """Take a name away."""

    def lock(self, path: Path) -> AbstractContextManager[None]:
        """Hold the exclusive lock of a path, waiting for it a while; it ends with its process at the latest."""


LOCK_S = 10.0
"""How long a lock is waited for. Whoever holds one longer is frozen; a rollback must not wait for it."""

_POLL_S = 0.002


class RealDisk:
    """The machine's file system. `lock_s` bounds the wait for a lock: then OSError ETIMEDOUT."""

    def __init__(self, lock_s: float = LOCK_S) -> None:
        self._lock_s = lock_s

    def stat(self, path: Path) -> Stat | None:
        try:
            found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Stat(found.st_ino, found.st_size, found.st_ctime_ns)

    def list(self, folder: Path) -> list[str]:
        try:
            return sorted(os.listdir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def read(self, path: Path, offset: int = 0, size: int | None = None) -> bytes:
        try:
            with open(path, "rb", buffering=0) as file:
                file.seek(offset)
                return file.readall() if size is None else _read_fully(file.fileno(), offset, size)
        except (FileNotFoundError, NotADirectoryError):
            return b""

    def append(self, path: Path, data: bytes) -> int:
        with _opened(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as descriptor:
            return os.write(descriptor, data)

    def overwrite(self, path: Path, offset: int, data: bytes) -> int:
        with _opened(path, os.O_WRONLY | os.O_CREAT) as descriptor:
            return os.pwrite(descriptor, data, offset)

    def allocate(self, path: Path, size: int) -> None:
        with _opened(path, os.O_WRONLY | os.O_CREAT) as descriptor:
            try:
                os.posix_fallocate(descriptor, 0, size)
            except OSError:
                os.unlink(path)
                raise

    def truncate(self, path: Path, size: int) -> None:
        os.truncate(path, size)

    def sync(self, path: Path) -> None:
        with _opened(path, os.O_WRONLY) as descriptor:
            os.fdatasync(descriptor)

    def sync_folder(self, folder: Path) -> None:
        with _opened(folder, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
            os.fsync(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        os.rename(old, new)

    def remove(self, path: Path) -> None:
        os.unlink(path)

    @contextmanager
    def lock(self, path: Path) -> Iterator[None]:
        descriptor = _lock(path, self._lock_s)
        try:
            yield
        finally:
            os.close(descriptor)


def _lock(path: Path, within_s: float) -> int:
    """Lock the file that the path names: one that was removed or replaced while we waited excludes nobody."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _flock(descriptor, within_s)
            if _names(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _flock(descriptor: int, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                said = f"another process has held the lock for {within_s:g} s; it may be frozen"
                raise OSError(errno.ETIMEDOUT, said) from None
            time.sleep(_POLL_S)


def _names(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _read_fully(descriptor: int, offset: int, size: int) -> bytes:
    parts = []
    while size > 0 and (part := os.pread(descriptor, size, offset)):
        parts.append(part)
        offset, size = offset + len(part), size - len(part)
    return b"".join(parts)


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
