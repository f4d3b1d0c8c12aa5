"""The simulator: one seed is one history, nothing breaks, and trouble of the control plane rolls nothing back."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.clocks import TOLERANCE_S, TimedWorld
from benchmarks.interleave import RacingWorld
from benchmarks.simulate import jobs, noisy, one, results, run_one
from benchmarks.simulation.crew import Parts
from benchmarks.simulation.faults import ALL, FaultyWorld
from benchmarks.simulation.people import Desk
from engine.rollout.journal import RecordType

ROOT = Path(__file__).resolve().parents[2]
DAYS = 4.0


def test_a_seed_replays_bit_for_bit() -> None:
    first, again, other = one(3), one(3), one(4)

    assert first.sha256 == again.sha256
    assert first.sha256 != other.sha256


def test_another_process_with_other_hashes_lives_the_same_history() -> None:
    command = [sys.executable, "-m", "benchmarks.simulate", "--replay", "3"]
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)

    assert json.loads(answer.stdout.splitlines()[-1])["sha256"] == one(3).sha256


def test_the_order_of_the_work_does_not_matter() -> None:
    work = jobs(7, 4)
    forwards = {job: result.sha256 for job, result in zip(work, results(work, 1), strict=True)}
    backwards = {job: run_one(job).sha256 for job in reversed(work)}

    assert forwards == backwards


def test_nothing_breaks_under_any_fault() -> None:
    found = [FaultyWorld(seed, DAYS, kinds=ALL).run() for seed in range(500, 540)]

    assert [result.broken for result in found if result.broken is not None] == []
    assert sum(sum(result.faults.values()) for result in found) > 60
    assert len({result.outcome for result in found}) > 1


def test_faults_are_of_every_kind() -> None:
    assert all(callable(getattr(FaultyWorld, f"_{kind}")) for kind in ALL)


def test_trouble_of_the_control_plane_rolls_nothing_back() -> None:
    found = [noisy(seed) for seed in range(500, 505)]

    assert [result.rollbacks for result in found] == [0] * len(found)
    assert {result.outcome for result in found} == {"promoted"}
    assert sum(sum(result.faults.values()) for result in found) > 10


def test_a_rollout_without_faults_asks_three_times_and_ends_after_24_days() -> None:
    world = FaultyWorld(1, parts=Parts(fail_share=0.0), most=0, answer=Desk.approve)

    result = world.run()

    types = [record.type for record in world.facts.records]
    assert result.outcome == "promoted"
    assert result.days > 24
    assert types.count(RecordType.ADVANCED) == types.count(RecordType.DRILLED) == 3


def test_an_abort_wins_every_race() -> None:
    races = [RacingWorld(seed).race() for seed in range(900, 940)]

    assert sum(race.advances_after_abort + race.self_restarts for race in races) == 0
    assert [race.broken for race in races if race.broken is not None] == []
    assert any(race.aborted for race in races)
    assert any(race.advanced for race in races)


@pytest.mark.parametrize("wall_only", [pytest.param(True, id="wall clock"), pytest.param(False, id="outages as well")])
def test_no_clock_ends_a_slot_early(wall_only: bool) -> None:
    cases = [TimedWorld(seed, wall_only, DAYS).case() for seed in range(4)]

    assert [case.broken for case in cases if case.broken is not None] == []
    assert sum(case.ended_early for case in cases) == 0
    assert sum(case.slots for case in cases) > 10
    if wall_only:
        assert sum(case.rollbacks for case in cases) == 0
        assert max(case.largest_error_s for case in cases) < TOLERANCE_S
