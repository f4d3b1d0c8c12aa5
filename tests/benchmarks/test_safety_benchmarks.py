"""The benchmarks of the safety core in small, and that they find what is wrong."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.partial import Found, run_case
from benchmarks.partial_scene import STARTS, SYMBOLS
from engine.rollout.journal import Record, RecordType
from engine.rollout.orders import Orders
from engine.strategy import host as host_module
from engine.strategy import table
from engine.strategy.host import Candidate, Deployment, Host

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def run(name: str, *arguments: str) -> dict[str, Any]:
    """The last line of a benchmark, read."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=600)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_every_way_of_going_back_brings_all_twenty_symbols_back() -> None:
    found = run("rollback", "--count", "3")

    ways = {"T0", "T1_command", "T1_guardian", "T1_condition", "T1_whole_process", "T2", "T2_after_order"}
    assert found["tiers"].keys() == ways
    assert (found["n"], found["symbols"], found["not_on_baseline"], found["other_tier"]) == (3, 20, 0, 0)
    assert all(tier["n"] >= 1 and 0 < tier["p50_s"] <= tier["worst_s"] for tier in found["tiers"].values())


def test_a_service_left_alone_goes_back_and_prefect_makes_nothing_go_back() -> None:
    found = run("dead_man", "--count", "2", "--restarts", "2")

    assert (found["trials"], found["on_baseline_within_21_s"], found["causes"]) == (2, 2, {"lease": 2})
    assert (found["prefect_restarts"], found["false_rollbacks"]) == (2, 0)


def test_nothing_is_deployed_in_part() -> None:
    found = run("partial", "--count", "2")

    assert (found["mixtures"], found["clocks_started"], found["broken"]) == (0, 0, 0)
    assert found["cases"] == found["kinds"] * 2 * len(STARTS)
    assert 0 < found["carried_out"] < found["cases"]


def forget_a_symbol(patched: pytest.MonkeyPatch) -> None:
    real = Host.apply

    def apply(host: Host, wanted: Deployment, candidate: Candidate | None = None) -> None:
        real(host, replace(wanted, live=wanted.live[1:]), candidate)

    patched.setattr(Host, "apply", apply)


def prove_nothing(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(table, "_require_sound", lambda rows, symbols, modules: None)


def lower_before_refusing(patched: pytest.MonkeyPatch) -> None:
    real = Host.roll_back

    def roll_back(host: Host, symbols: Sequence[str] | None, epoch: int) -> None:
        for symbol in symbols or ():
            real(host, [symbol], epoch)
        real(host, symbols, epoch)

    patched.setattr(Host, "roll_back", roll_back)


def keep_half_of_the_rows(patched: pytest.MonkeyPatch) -> None:
    real = table.prepare

    def prepare(snapshot: table.Snapshot, rows: table.Rows, *rest: Any, **named: Any) -> table.Snapshot:
        mixed = rows.copy()
        mixed[len(SYMBOLS) // 2 :] = snapshot.table[len(SYMBOLS) // 2 :, 1]
        return real(snapshot, mixed, *rest, **named)

    patched.setattr(host_module, "prepare", prepare)


def start_any_clock(patched: pytest.MonkeyPatch) -> None:
    def start_clock(orders: Orders, stage: str, body: dict[str, Any]) -> Record:
        return orders.journal.append(RecordType.STAGE_STARTED, body, stage=stage)

    patched.setattr(Orders, "start_clock", start_clock)


@pytest.mark.parametrize(
    ("break_it", "kind", "what"),
    [
        pytest.param(forget_a_symbol, "a command is lost", "mixtures", id="apply forgets a symbol"),
        pytest.param(prove_nothing, "a number of a symbol is NaN or infinite", "mixtures", id="rows are not proven"),
        pytest.param(lower_before_refusing, "a rollback names an unknown symbol", "mixtures", id="lowers one by one"),
        pytest.param(
            keep_half_of_the_rows, "an answer is lost after it was carried out", "mixtures", id="half a table"
        ),
        pytest.param(start_any_clock, "a module raises", "clocks", id="a clock that starts without a deploy"),
    ],
)
def test_partial_finds_what_is_broken(
    break_it: Callable[[pytest.MonkeyPatch], None],
    kind: str,
    what: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, broken = Found(), Found()
    run_case(kind, 9, STARTS[0], tmp_path / "whole", found)

    break_it(monkeypatch)
    run_case(kind, 9, STARTS[0], tmp_path / "broken", broken)

    assert not found.mixtures + found.clocks + found.broken
    assert getattr(broken, what)
