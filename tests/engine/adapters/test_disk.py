"""The disk's contract, kept by the machine's file system and by the model; and how the model loses its power."""

import errno
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

import pytest

from engine.adapters.disk import Disk, RealDisk
from engine.adapters.disk_model import FakeDisk


@pytest.fixture(params=[pytest.param(RealDisk, id="real"), pytest.param(FakeDisk, id="model")])
def disk(request: pytest.FixtureRequest) -> Disk:
    return request.param()


def test_appends_follow_one_another_and_are_read_from_any_place(disk: Disk, tmp_path: Path) -> None:
    path = tmp_path / "a"

    assert (disk.append(path, b"one "), disk.append(path, b"two")) == (4, 3)

    assert disk.read(path) == b"one two"
    assert disk.read(path, 4) == b"two"
    assert disk.read(path, 2, 3) == b"e t"
    assert disk.read(path, 5, 100) == b"wo"
    assert disk.read(path, 50) == b""


def test_what_is_not_there_reads_as_nothing(disk: Disk, tmp_path: Path) -> None:
    assert disk.read(tmp_path / "no") == b""
    assert disk.stat(tmp_path / "no") is None
    assert disk.list(tmp_path / "no") == []


def test_an_overwrite_changes_its_place_only_and_fills_a_gap_with_zeros(disk: Disk, tmp_path: Path) -> None:
    path = tmp_path / "a"

    disk.overwrite(path, 3, b"abc")
    assert disk.read(path) == b"\0\0\0abc"

    assert disk.overwrite(path, 1, b"XY") == 2
    assert disk.read(path) == b"\0XYabc"


def test_a_cut_file_goes_on_from_there(disk: Disk, tmp_path: Path) -> None:
    path = tmp_path / "a"
    disk.append(path, b"abcdef")

    disk.truncate(path, 2)
    disk.append(path, b"Z")

    assert disk.read(path) == b"abZ"


def test_a_file_keeps_its_identity_under_another_name(disk: Disk, tmp_path: Path) -> None:
    disk.append(tmp_path / "a", b"abc")
    before = disk.stat(tmp_path / "a")
    assert before is not None

    disk.rename(tmp_path / "a", tmp_path / "b")
    disk.append(tmp_path / "a", b"new")
    after, other = disk.stat(tmp_path / "b"), disk.stat(tmp_path / "a")

    assert after is not None
    assert other is not None
    assert (after.identity, after.size) == (before.identity, 3)
    assert other.identity != before.identity
    assert disk.list(tmp_path) == ["a", "b"]


def test_a_change_in_place_changes_the_stat(disk: Disk, tmp_path: Path) -> None:
    disk.append(tmp_path / "a", b"abc")
    before = disk.stat(tmp_path / "a")

    for _ in range(100_000):  # the kernel's clock for files ticks every few milliseconds only
        disk.overwrite(tmp_path / "a", 0, b"x")
        if disk.stat(tmp_path / "a") != before:
            break

    assert disk.stat(tmp_path / "a") != before
    assert disk.read(tmp_path / "a") == b"xbc"


def test_a_removed_file_is_gone(disk: Disk, tmp_path: Path) -> None:
    disk.allocate(tmp_path / "a", 4096)
    found = disk.stat(tmp_path / "a")
    assert found is not None
    assert found.size == 4096

    disk.remove(tmp_path / "a")

    assert disk.list(tmp_path) == []


@pytest.mark.parametrize(
    "operation",
    [
        pytest.param(lambda disk, path: disk.sync(path), id="sync"),
        pytest.param(lambda disk, path: disk.truncate(path, 0), id="truncate"),
        pytest.param(lambda disk, path: disk.remove(path), id="remove"),
        pytest.param(lambda disk, path: disk.rename(path, path.with_name("b")), id="rename"),
    ],
)
def test_changing_what_is_not_there_is_an_error(
    disk: Disk, tmp_path: Path, operation: Callable[[Disk, Path], None]
) -> None:
    with pytest.raises(FileNotFoundError):
        operation(disk, tmp_path / "a")


def test_a_lock_can_be_taken_again_once_it_was_released(disk: Disk, tmp_path: Path) -> None:
    for _ in range(2):
        with disk.lock(tmp_path / "lock"):
            disk.append(tmp_path / "a", b"x")
    assert disk.read(tmp_path / "a") == b"xx"


def hold_when_told(path: Path, told: Connection) -> None:
    told.recv()
    with RealDisk().lock(path):
        told.send("held")


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Connection]:
    """Another process, that takes the lock once it is sent something and then says so."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    process = fork.Process(target=hold_when_told, args=(tmp_path / "lock", theirs), daemon=True)
    process.start()  # before there is a lock that it could inherit
    yield ours
    process.kill()
    process.join()


def test_a_lock_excludes_another_process(tmp_path: Path, other: Connection) -> None:
    with RealDisk().lock(tmp_path / "lock"):
        other.send("go")
        assert not other.poll(0.3)
    assert other.poll(20)


def test_a_lock_file_that_is_replaced_while_one_waits_does_not_count(tmp_path: Path, other: Connection) -> None:
    path = tmp_path / "lock"
    with ExitStack() as new:
        with RealDisk().lock(path):
            other.send("go")
            assert not other.poll(0.3)
            path.unlink()
            new.enter_context(RealDisk().lock(path))
        assert not other.poll(0.3)  # the old file is free, and excludes nobody any more
    assert other.poll(20)


A, B = Path("/j/a"), Path("/j/b")


def crashed(prepare: Callable[[FakeDisk], None], seed: int) -> FakeDisk:
    disk = FakeDisk()
    prepare(disk)
    disk.crash(Random(seed))
    return disk


def outcomes(prepare: Callable[[FakeDisk], None], path: Path = A) -> set[bytes | None]:
    """What a path may hold after a loss of power."""
    disks = [crashed(prepare, seed) for seed in range(300)]
    return {None if disk.stat(path) is None else disk.read(path) for disk in disks}


def synced(disk: FakeDisk) -> None:
    disk.append(A, b"old ")
    disk.sync(A)
    disk.sync_folder(A.parent)


def test_what_was_synced_survives() -> None:
    assert outcomes(synced) == {b"old "}


def test_a_new_name_may_be_lost_until_its_folder_is_synced() -> None:
    def prepare(disk: FakeDisk) -> None:
        disk.append(A, b"x")
        disk.sync(A)

    assert outcomes(prepare) == {b"x", None}


def test_what_was_appended_may_be_whole_torn_or_lost() -> None:
    def prepare(disk: FakeDisk) -> None:
        synced(disk)
        disk.append(A, b"new")

    found = outcomes(prepare)

    assert {b"old ", b"old n", b"old ne", b"old new"} <= found
    assert found - {b"old ", b"old n", b"old ne", b"old new"} == {b"old \0\0\0"}


def test_a_place_that_was_written_again_may_be_torn() -> None:
    def prepare(disk: FakeDisk) -> None:
        synced(disk)
        disk.overwrite(A, 0, b"NEW")

    assert outcomes(prepare) == {b"old ", b"Nld ", b"NEd ", b"NEW "}


def test_files_do_not_wait_for_each_other() -> None:
    def prepare(disk: FakeDisk) -> None:
        for path in (A, B):
            disk.append(path, b"x")
        disk.sync_folder(A.parent)

    disks = [crashed(prepare, seed) for seed in range(100)]

    assert {(bool(disk.read(A)), bool(disk.read(B))) for disk in disks} == {
        (False, False), (False, True), (True, False), (True, True)
    }  # fmt: skip


def test_a_rename_happens_or_does_not() -> None:
    def prepare(disk: FakeDisk) -> None:
        synced(disk)
        disk.rename(A, B)

    disks = [crashed(prepare, seed) for seed in range(100)]

    assert {tuple(disk.list(A.parent)) for disk in disks} == {("a",), ("b",)}


def test_bytes_whose_sync_failed_are_not_brought_back_by_a_later_sync() -> None:
    def fail(name: str, path: Path) -> None:
        if name == "sync":
            raise OSError(errno.EIO, "Input/output error")

    def prepare(disk: FakeDisk) -> None:
        synced(disk)
        disk.append(A, b"new")
        disk.fault = fail
        with pytest.raises(OSError, match="Input/output"):
            disk.sync(A)
        disk.fault = None
        disk.sync(A)

    assert {b"old new", b"old \0\0\0"} <= outcomes(prepare)


def test_a_full_disk_writes_what_fits_and_then_nothing() -> None:
    disk = FakeDisk(capacity=10)

    assert disk.append(A, b"12345678") == 8
    assert disk.append(A, b"12345678") == 2
    with pytest.raises(OSError, match="No space left"):
        disk.append(A, b"1")
    with pytest.raises(OSError, match="No space left"):
        disk.allocate(B, 1)

    disk.remove(A)
    assert disk.append(B, b"1") == 1


def test_one_seed_is_one_crash() -> None:
    def prepare(disk: FakeDisk) -> None:
        for number in range(20):
            disk.append(A, bytes([number]) * 600)
            disk.append(B, bytes([number]) * 7)

    assert [crashed(prepare, 5).read(path) for path in (A, B)] == [crashed(prepare, 5).read(path) for path in (A, B)]


def test_a_lock_that_a_frozen_process_holds_is_not_waited_for_without_end(tmp_path: Path) -> None:
    path = tmp_path / "journal.lock"
    with RealDisk().lock(path), pytest.raises(OSError, match="may be frozen"), RealDisk(lock_s=0.05).lock(path):
        pass
