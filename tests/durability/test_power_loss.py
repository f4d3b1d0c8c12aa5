"""The power is cut after every operation: nothing acknowledged is lost, and the journal goes on."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import power_loss
from engine.adapters.disk_model import FakeDisk


def test_no_prefix_of_a_trace_loses_an_acknowledged_record() -> None:
    found = list(power_loss.breaks(traces=6, seed=11))

    assert len(found) > 300
    assert [(at, what) for at, what in found if what is not None] == []


def test_one_seed_is_one_history() -> None:
    assert list(power_loss.breaks(traces=1, seed=3)) == list(power_loss.breaks(traces=1, seed=3))


def forgets_to_sync(self: FakeDisk, path: Path) -> None:
    self.operations += 1


def swallows_the_error(real: Callable[[FakeDisk, Path], None]) -> Callable[[FakeDisk, Path], None]:
    def sync(self: FakeDisk, path: Path) -> None:
        try:
            real(self, path)
        except OSError as error:
            assert error.errno == errno.EIO

    return sync


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        pytest.param("sync", forgets_to_sync, id="syncs that do nothing"),
        pytest.param("sync_folder", forgets_to_sync, id="folders that are not synced"),
        pytest.param("sync", swallows_the_error(FakeDisk.sync), id="a failed sync that is taken for a good one"),
    ],
)
def test_the_trial_sees_a_disk_that_does_not_keep_its_word(
    monkeypatch: pytest.MonkeyPatch, name: str, broken: Callable[[FakeDisk, Path], None]
) -> None:
    monkeypatch.setattr(FakeDisk, name, broken)

    assert any(what is not None for _, what in power_loss.breaks(traces=12, seed=11))
