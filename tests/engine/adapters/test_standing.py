"""What survives a restart of the service, and what a damaged file is worth."""

from pathlib import Path

import pytest

from engine.adapters.standing import DamagedStateError, Latch, Lease, Standing, StandingFiles
from tests.making_service import SYMBOLS, wanted

STANDING = Standing(7, Latch("loss", "it lost", 5, 6, 0.2), {SYMBOLS[1]: 4}, wanted(epoch=7, live=SYMBOLS[:1]))
LEASE = Lease(7, "boot", 123)


@pytest.fixture
def files(tmp_path: Path) -> StandingFiles:
    return StandingFiles(tmp_path)


def test_the_first_start_finds_nothing(files: StandingFiles) -> None:
    assert files.read() == Standing()
    assert files.read_lease() is None


def test_what_was_written_is_read_again(files: StandingFiles) -> None:
    files.write(STANDING)
    files.write_lease(LEASE)

    assert files.read() == STANDING
    assert files.read_lease() == LEASE


def test_every_cut_and_every_flipped_byte_is_noticed(files: StandingFiles, tmp_path: Path) -> None:
    path = tmp_path / "standing.json"
    files.write(Standing(7, None, {SYMBOLS[1]: 4}))
    whole = path.read_bytes()
    cut = [whole[:size] for size in range(len(whole))]
    flipped = [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(len(whole))]

    for damaged in cut + flipped:
        path.write_bytes(damaged)
        with pytest.raises(DamagedStateError, match="damaged"):
            files.read()


def test_a_damaged_file_is_kept_for_a_person(files: StandingFiles, tmp_path: Path) -> None:
    (tmp_path / "standing.json").write_bytes(b"half of")

    with pytest.raises(DamagedStateError):
        files.read()

    assert (tmp_path / "standing.damaged").read_bytes() == b"half of"


def test_a_lease_without_a_standing_is_damage_as_well(files: StandingFiles) -> None:
    files.write_lease(LEASE)

    with pytest.raises(DamagedStateError, match="there is a lease beside it"):
        files.read()


@pytest.mark.parametrize("text", [b"", b"{", b'{"epoch": 7}', b'{"epoch":"7","boot_id":"b","mono_ns":1}'])
def test_a_lease_that_cannot_be_read_is_none(files: StandingFiles, tmp_path: Path, text: bytes) -> None:
    (tmp_path / "lease.json").write_bytes(text)

    assert files.read_lease() is None
