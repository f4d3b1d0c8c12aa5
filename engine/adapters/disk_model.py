"""A disk in memory that can lose its power: what was not synced is kept, dropped, torn or reordered.

The model is harsher than ext4: names are lost too unless their folder was synced, files do not wait for each other,
and bytes whose sync failed are never written, even if a later sync of the same file succeeds.
"""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from engine.adapters.disk import Stat

Fault = Callable[[str, Path], int | None]
"""Asked before every operation, with its name and path: may raise what the operation shall raise,
or return how many bytes a write shall write."""

SECTOR = 512


class _File:
    """`data` is what programs read; what survives is `kept`, and if that is None the first `synced` bytes of `data`."""

    __slots__ = ("changes", "data", "identity", "kept", "lost", "synced")

    def __init__(self, identity: int) -> None:
        self.identity = identity
        self.data = bytearray()
        self.kept: bytes | None = None
        self.synced = 0
        self.lost: set[int] = set()
        self.changes = 0

    def durable(self) -> bytes:
        return bytes(self.data[: self.synced]) if self.kept is None else self.kept

    def keep(self) -> None:
        """Remember what is durable before bytes of it are changed."""
        if self.kept is None:
            self.kept = bytes(self.data[: self.synced])

    def sync(self) -> None:
        if self.lost:
            self.kept = self._without_lost()
        else:
            self.kept, self.synced = None, len(self.data)

    def fail_to_sync(self) -> None:
        """Give up the sectors that wait: they are written when they are changed again, not by another sync."""
        durable, data = self.durable(), bytes(self.data)
        count = max(len(durable), len(data)) // SECTOR + 1
        self.lost |= {i for i in range(count) if _sector(durable, i) != _sector(data, i)}

    def _without_lost(self) -> bytes:
        durable, data = self.durable(), bytes(self.data)
        count = len(data) // SECTOR + 1
        return b"".join(
            _sector(durable, i).ljust(SECTOR, b"\0")[: len(data) - i * SECTOR] if i in self.lost else _sector(data, i)
            for i in range(count)
        )

    def touch(self, start: int, end: int) -> None:
        """Note that bytes were changed."""
        self.changes += 1
        if self.lost:
            self.lost -= set(range(start // SECTOR, end // SECTOR + 1))


class FakeDisk:
    """Files of one machine. One program at a time: a lock that is held when it is asked for is an error."""

    def __init__(self, capacity: int | None = None) -> None:
        self.fault: Fault | None = None
        self.operations = 0
        self.capacity = capacity
        self._used = 0
        self._count = 0
        self._names: dict[Path, _File] = {}
        self._durable_names: dict[Path, _File] = {}
        self._moves: list[tuple[Path, Path | None, _File | None]] = []
        self._locked: set[Path] = set()

    def stat(self, path: Path) -> Stat | None:
        self._begin("stat", path)
        file = self._names.get(path)
        return None if file is None else Stat(file.identity, len(file.data), file.changes)

    def list(self, folder: Path) -> list[str]:
        self._begin("list", folder)
        return sorted(path.name for path in self._names if path.parent == folder)

    def read(self, path: Path, offset: int = 0, size: int | None = None) -> bytes:
        self._begin("read", path)
        file = self._names.get(path)
        if file is None:
            return b""
        return bytes(file.data[offset:] if size is None else file.data[offset : offset + size])

    def append(self, path: Path, data: bytes) -> int:
        allowed = self._begin("append", path)
        file = self._names.get(path) or self._create(path)
        return self._write(file, len(file.data), data, allowed)

    def overwrite(self, path: Path, offset: int, data: bytes) -> int:
        allowed = self._begin("overwrite", path)
        file = self._names.get(path) or self._create(path)
        file.keep()
        return self._write(file, offset, data, allowed)

    def allocate(self, path: Path, size: int) -> None:
        self._begin("allocate", path)
        if self.capacity is not None and self._used + size > self.capacity:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        self._write(self._names.get(path) or self._create(path), 0, bytes(size), None)

    def truncate(self, path: Path, size: int) -> None:
        self._begin("truncate", path)
        file = self._file(path)
        file.keep()
        self._used += size - len(file.data)
        del file.data[size:]
        file.touch(size, size)
        file.lost = {i for i in file.lost if i * SECTOR < size}

    def sync(self, path: Path) -> None:
        file = self._file(path)
        try:
            self._begin("sync", path)
        except OSError:
            file.fail_to_sync()
            raise
        file.sync()

    def sync_folder(self, folder: Path) -> None:
        self._begin("sync_folder", folder)
        for move in self._moves:
            if move[0].parent == folder:
                _replay(self._durable_names, move)
        self._moves = [move for move in self._moves if move[0].parent != folder]

    def rename(self, old: Path, new: Path) -> None:
        self._begin("rename", old)
        self._file(old)
        self._move(old, new, None)

    def remove(self, path: Path) -> None:
        self._begin("remove", path)
        self._used -= len(self._file(path).data)
        self._move(path, None, None)

    @contextmanager
    def lock(self, path: Path) -> Iterator[None]:
        self._begin("lock", path)
        if path in self._locked:
            raise RuntimeError(f"{path} is locked already, and nobody else runs who could release it")
        self._locked.add(path)
        try:
            yield
        finally:
            self._locked.discard(path)

    def crash(self, rng: Random) -> None:
        """Lose the power, and start again with what the disk has."""
        moves = self._moves[: rng.randint(0, len(self._moves))]
        if rng.random() < 0.5:
            moves = [move for move in self._moves if rng.random() < 0.5]
        for move in moves:
            _replay(self._durable_names, move)
        self._names, self._moves = dict(self._durable_names), []
        for file in {id(file): file for file in self._names.values()}.values():
            left = _torn(file.durable(), bytes(file.data), rng)
            file.data, file.kept, file.synced, file.lost = bytearray(left), None, len(left), set()
        self._used = sum(len(file.data) for file in self._names.values())
        self._locked.clear()

    def _begin(self, name: str, path: Path) -> int | None:
        self.operations += 1
        return None if self.fault is None else self.fault(name, path)

    def _file(self, path: Path) -> _File:
        file = self._names.get(path)
        if file is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return file

    def _create(self, path: Path) -> _File:
        self._count += 1
        file = _File(self._count)
        self._move(path, None, file)
        return file

    def _move(self, path: Path, new: Path | None, file: _File | None) -> None:
        self._moves.append((path, new, file))
        _replay(self._names, self._moves[-1])

    def _write(self, file: _File, offset: int, data: bytes, allowed: int | None) -> int:
        grows = max(offset + len(data) - len(file.data), 0)
        if self.capacity is not None and self._used + grows > self.capacity:
            room = self.capacity - self._used
            if room <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            allowed = room if allowed is None else min(allowed, room)
        part = data if allowed is None else data[:allowed]
        before = len(file.data)
        if offset > before:
            file.data.extend(bytes(offset - before))
        file.data[offset : offset + len(part)] = part
        self._used += len(file.data) - before
        file.touch(offset, offset + len(part))
        return len(part)


def _replay(names: dict[Path, _File], move: tuple[Path, Path | None, _File | None]) -> None:
    path, new, created = move
    if created is not None:
        names[path] = created
    elif path in names:
        file = names.pop(path)
        if new is not None:
            names[new] = file


def _sector(data: bytes, number: int) -> bytes:
    return data[number * SECTOR : (number + 1) * SECTOR]


def _torn(durable: bytes, data: bytes, rng: Random) -> bytes:
    """One of the states in which a loss of power may leave what was written since the last sync."""
    if durable == data:
        return durable
    how = rng.randrange(5)
    if how == 0:
        return durable
    if how == 1:
        return data
    cut = rng.randint(0, max(len(data), len(durable)))
    if how == 2 and len(data) > len(durable):
        return data[: rng.randint(len(durable), len(data))] if data.startswith(durable) else data[:cut] + durable[cut:]
    if how == 3:
        return data[:cut] + durable[cut:]
    return _sectors(durable, data, rng)


def _sectors(durable: bytes, data: bytes, rng: Random) -> bytes:
    """Each sector old or new, and zero where neither was written."""
    size = rng.choice((len(durable), len(data)))
    chosen = (_sector(rng.choice((durable, data)), i).ljust(SECTOR, b"\0") for i in range(size // SECTOR + 1))
    return b"".join(chosen)[:size]
