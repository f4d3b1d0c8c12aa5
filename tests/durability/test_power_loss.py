"""The power is cut after every operation: nothing acknowledged is lost, and the journal goes on."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from benchmarks import power_loss
from benchmarks.power_loss import Trace
from engine.adapters.disk_model import FakeDisk


def test_no_prefix_of_a_trace_loses_an_acknowledged_record() -> None:
    found = list(power_loss.breaks(traces=6, seed=11))

    assert len(found) > 300
    assert [(at, what) for at, what in found if what is not None] == []


@pytest.mark.parametrize("fault", ["failing", "fatal"])
@pytest.mark.parametrize(
    "segment_bytes", [pytest.param(300, id="a segment each"), pytest.param(1 << 20, id="one segment")]
)
def test_whatever_went_wrong_before_the_power_was_lost(fault: str, segment_bytes: int) -> None:
    rng, wrong, tried = Random(1), [], 0
    for operation in range(1, power_loss.length(Trace([400] * 3, segment_bytes)) + 1):
        trace = Trace([400] * 4, segment_bytes, **{fault: {operation}})
        for at in range(operation + 1, power_loss.length(trace) + 2):
            wrong += [(operation, at, what) for what in [power_loss.crash(trace, at, rng)] if what is not None]
            tried += 1

    assert tried > 500
    assert wrong == []


def test_one_seed_is_one_history() -> None:
    assert list(power_loss.breaks(traces=1, seed=3)) == list(power_loss.breaks(traces=1, seed=3))


def forgets_to_sync(self: FakeDisk, path: Path) -> None:
    self.operations += 1


def swallows_the_error(real: Callable[[FakeDisk, Path], None]) -> Callable[[FakeDisk, Path], None]:
    def sync(self: FakeDisk, path: Path) -> None:
        with suppress(OSError):
            real(self, path)

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
    rng = Random(1)
    traces = [Trace([3000] * 5, 1 << 20, failing={operation}) for operation in range(10, 60)]

    found = (power_loss.crash(trace, at, rng) for trace in traces for at in range(1, power_loss.length(trace) + 2))

    assert any(what is not None for what in found)
