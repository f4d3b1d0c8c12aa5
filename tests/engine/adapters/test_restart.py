"""What a restart of the service puts back in force, and what a disk that fails may not stop."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.adapters.runtime import Runtime
from engine.adapters.standing import Latch, Lease, Standing, StandingFiles
from engine.clock import FakeClock
from engine.errors import RefusedError
from engine.strategy.params import fingerprint
from tests.making_service import (
    BASELINE_LIVE,
    CANDIDATE,
    CANDIDATE_LIVE,
    STABLE,
    SYMBOLS,
    TTL_S,
    deployed,
    do,
    request,
    runtime_in,
    wanted,
)  # fmt: skip


def restarted(folder: Path, clock: FakeClock, *, switched_off: bool = False) -> Runtime:
    return runtime_in(folder, clock, switched_off=switched_off)


class OtherBoot(FakeClock):
    def boot_id(self) -> str:
        return "other-boot"


def other_boot(_: Path, clock: FakeClock) -> FakeClock:
    return OtherBoot(clock.at_ns)


def time_passes(seconds: float) -> Callable[[Path, FakeClock], FakeClock]:
    return lambda _, clock: FakeClock(clock.at_ns + round(seconds * 1e9))


def lease_is_gone(folder: Path, clock: FakeClock) -> FakeClock:
    (folder / "lease.json").unlink()
    return clock


def lease_is_of_epoch(epoch: int) -> Callable[[Path, FakeClock], FakeClock]:
    def write(folder: Path, clock: FakeClock) -> FakeClock:
        StandingFiles(folder).write_lease(Lease(epoch, clock.boot_id(), clock.mono_ns()))
        return clock

    return write


def standing_is(**changes: Any) -> Callable[[Path, FakeClock], FakeClock]:
    def write(folder: Path, clock: FakeClock) -> FakeClock:
        StandingFiles(folder).write(Standing(**({"epoch": 1, "deployment": wanted()} | changes)))
        return clock

    return write


@pytest.mark.parametrize(
    ("meanwhile", "is_live"),
    [
        pytest.param(time_passes(TTL_S), True, id="with a lease that still holds"),
        pytest.param(time_passes(TTL_S + 1e-6), False, id="with a lease that has run out"),
        pytest.param(time_passes(-1), False, id="with a lease from the future"),
        pytest.param(other_boot, False, id="with a lease of another boot"),
        pytest.param(lease_is_gone, False, id="without a lease"),
        pytest.param(lease_is_of_epoch(0), False, id="with a lease of an older epoch"),
        pytest.param(lease_is_of_epoch(2), False, id="with a lease of a later epoch"),
        pytest.param(standing_is(epoch=2), False, id="in a later epoch"),
        pytest.param(standing_is(deployment=wanted(live=(SYMBOLS[0], "NOSUCH.x"))), False, id="of unknown symbols"),
        pytest.param(standing_is(latch=Latch("loss", "it lost", 0, 0, 0.1)), False, id="with a latch"),
        pytest.param(standing_is(deployment=None), False, id="with nothing deployed"),
    ],
)
def test_a_restart_puts_the_candidate_back_only_with_a_live_lease(
    tmp_path: Path, meanwhile: Callable[[Path, FakeClock], FakeClock], is_live: bool
) -> None:
    clock = FakeClock()
    deployed(tmp_path, clock)

    runtime = restarted(tmp_path, meanwhile(tmp_path, clock))

    assert runtime.status()["live"] == (CANDIDATE_LIVE if is_live else BASELINE_LIVE)


def test_what_an_epoch_before_deployed_is_not_put_back_under_a_later_lease(tmp_path: Path) -> None:
    """A guardian that took over and has not deployed anything yet."""
    clock = FakeClock()
    do(deployed(tmp_path, clock), "renew", epoch=2)

    status = restarted(tmp_path, clock).status()

    assert (status["live"], status["latch"]) == (BASELINE_LIVE, None)


def test_a_restart_with_the_rollback_switches_stays_on_the_baseline_for_good(tmp_path: Path) -> None:
    clock = FakeClock()
    deployed(tmp_path, clock)
    restarted(tmp_path, clock, switched_off=True)

    assert restarted(tmp_path, clock).status()["live"] == BASELINE_LIVE


def test_a_start_on_the_baseline_forgets_what_was_deployed(tmp_path: Path) -> None:
    clock = FakeClock()
    deployed(tmp_path, clock)
    clock.sleep(TTL_S + 1)
    do(restarted(tmp_path, clock), "renew", epoch=1)

    assert restarted(tmp_path, clock).status()["live"] == BASELINE_LIVE


def test_a_deployment_of_some_symbols_is_put_back_on_those(tmp_path: Path) -> None:
    clock = FakeClock()
    deployed(tmp_path, clock, live=SYMBOLS[:1])

    live = restarted(tmp_path, clock).status()["live"]

    assert live == {SYMBOLS[0]: fingerprint(CANDIDATE), SYMBOLS[1]: fingerprint(STABLE)}


def test_a_rollback_survives_a_restart(tmp_path: Path) -> None:
    clock = FakeClock()
    runtime = deployed(tmp_path, clock)
    do(runtime, "roll_back", epoch=1)

    assert restarted(tmp_path, clock).status()["live"] == BASELINE_LIVE


def test_the_highest_epoch_survives_a_restart(tmp_path: Path) -> None:
    do(deployed(tmp_path, FakeClock()), "roll_back", epoch=5)

    runtime = restarted(tmp_path, FakeClock())

    for command in ("renew", "roll_back", "kill", "rearm"):
        with pytest.raises(RefusedError, match="epoch 4 is older than 5"):
            do(runtime, command, epoch=4)
    with pytest.raises(RefusedError, match="epoch 4 is older than 5"):
        do(runtime, "apply", **request(CANDIDATE, epoch=4))


def test_a_latch_survives_a_restart(tmp_path: Path) -> None:
    clock = FakeClock()
    runtime = deployed(tmp_path, clock)
    runtime.safety.loop_lag_ms = 1e9
    runtime.safety.check()
    latch = do(runtime, "renew", epoch=1)["latch"]

    runtime = restarted(tmp_path, clock)

    assert runtime.status()["latch"] == latch
    assert runtime.status()["live"] == BASELINE_LIVE


def test_a_kill_survives_a_restart(tmp_path: Path) -> None:
    do(deployed(tmp_path, FakeClock()), "kill", epoch=2, symbols=[SYMBOLS[1]])

    runtime = restarted(tmp_path, FakeClock())

    assert runtime.status()["killed"] == [SYMBOLS[1]]
    with pytest.raises(RefusedError, match="above 2"):
        do(runtime, "rearm", epoch=2)


def test_a_killed_symbol_that_is_not_served_any_more_is_for_a_person_to_look_at(tmp_path: Path) -> None:
    StandingFiles(tmp_path).write(Standing(3, None, {"NOSUCH.x": 2}))

    status = restarted(tmp_path, FakeClock()).status()

    assert status["latch"]["reason"] == "NOSUCH.x was killed before the restart and is not served any more"
    assert status["epoch"] == 3


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-5]), id="half written"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: path.write_bytes(b"\xff" * 500), id="noise"),
        pytest.param(lambda path: path.unlink(), id="gone, with a lease beside it"),
        pytest.param(lambda path: (path.unlink(), path.mkdir()), id="a folder"),
    ],
)
def test_a_damaged_state_starts_on_the_baseline_and_latches(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    clock = FakeClock()
    deployed(tmp_path, clock)
    damage(tmp_path / "standing.json")

    runtime = restarted(tmp_path, clock)

    assert runtime.status()["live"] == BASELINE_LIVE
    assert runtime.status()["latch"]["cause"] == "state"
    assert "standing.json" in runtime.status()["latch"]["reason"]
    assert runtime.status()["epoch"] == 1  # the lease still says so


def test_parameters_that_are_not_those_of_the_fingerprint_are_not_put_back(tmp_path: Path) -> None:
    clock = FakeClock()
    deployed(tmp_path, clock)
    spoilt = replace(wanted(), params=wanted().params.replace("2.0", "3.0", 1))
    StandingFiles(tmp_path).write(Standing(1, None, {}, spoilt))

    runtime = restarted(tmp_path, clock)

    assert runtime.status()["live"] == BASELINE_LIVE
    assert runtime.status()["latch"]["cause"] == "state"


class FullDisk(StandingFiles):
    """Writes nothing from the moment it is full; a name can still be taken away."""

    is_full = True

    def write(self, standing: Standing) -> None:
        if self.is_full:
            raise OSError(28, os.strerror(28))
        super().write(standing)

    def write_lease(self, lease: Lease) -> None:
        if self.is_full:
            raise OSError(28, os.strerror(28))
        super().write_lease(lease)


@pytest.mark.parametrize("order", ["roll_back", "kill", "a guardrail"])
def test_a_full_disk_stops_no_way_down_and_is_an_alert(tmp_path: Path, order: str) -> None:
    clock = FakeClock()
    runtime = deployed(tmp_path, clock)
    runtime.safety._files = FullDisk(tmp_path)

    if order == "a guardrail":
        runtime.safety.loop_lag_ms = 1e9
        runtime.safety.check()
        asyncio.run(runtime.safety.keep())
    else:
        do(runtime, order, epoch=2)

    assert runtime.status()["live"] == BASELINE_LIVE
    assert runtime.status()["health"]["alerts"]["state_not_written"] == 1
    assert restarted(tmp_path, clock).status()["live"] == BASELINE_LIVE


def test_what_a_full_disk_did_not_take_is_written_once_there_is_room(tmp_path: Path) -> None:
    clock = FakeClock()
    runtime = deployed(tmp_path, clock)
    runtime.safety._files = disk = FullDisk(tmp_path)
    do(runtime, "kill", epoch=2)

    disk.is_full = False
    asyncio.run(runtime.safety.keep())

    assert restarted(tmp_path, clock).status()["killed"] == list(SYMBOLS)
