"""A live market is folded by the venue's time, whatever the clock of this machine says."""

import asyncio
import itertools
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvloop

from benchmarks.wire_server import serving
from benchmarks.wire_tape import Faults, WireSpec, open_tape
from config.loader import CONFIG_DIR, load_caps, load_release
from engine.adapters.live.feed import LiveFeed
from engine.adapters.playing import listen
from engine.adapters.runtime import Runtime
from engine.adapters.window_log import WindowLog
from engine.clock import NS_PER_S, SystemClock
from engine.strategy.host import Host
from engine.strategy.records import Measurement
from engine.strategy.warm import warm_up
from tests.engine.adapters.live.hearing import PATIENCE_S, live_spec
from tests.making_service import safety_in

pytestmark = pytest.mark.slow

MEASUREMENT = Measurement(1, 250, (1_000,))
WIRE = WireSpec(streams=("trade", "bookTicker"), limit=2_400, rate=450.0, retime=True)

SENT = 1_800
"""Messages of the tape, 450 a second: without its changes of the book. The first second is a part of a window."""


class JumpingClock(SystemClock):
    """A machine whose wall clock jumps when told to."""

    def __init__(self) -> None:
        self.jump_ns = 0

    def now_ns(self) -> int:
        return super().now_ns() + self.jump_ns


def fold(wire: WireSpec, folder: Path, jump_s: float = 0.0) -> list[dict[str, Any]]:
    """Fold a whole tape; the wall clock jumps in the middle. Return the windows of the baseline arm."""
    warm_up()
    tape = open_tape(wire)

    async def run() -> list[dict[str, Any]]:
        async with serving(tape, wire) as server, asyncio.timeout(PATIENCE_S):
            clock, stop = JumpingClock(), asyncio.Event()
            feed = LiveFeed(live_spec(tape, server.port, depth=None), clock, random.Random(1))
            params = load_release(CONFIG_DIR / "baseline.yaml", {}, {}).params
            host = Host(feed.instruments(), MEASUREMENT, params, load_caps(), with_depth=False)
            log = WindowLog(folder / "undelivered.jsonl", MEASUREMENT)
            runtime = Runtime(host, None, log, clock, False, safety_in(folder, host, clock))
            listening = asyncio.ensure_future(listen(runtime, feed, stop))
            while not server.is_over:
                if server.place > len(tape.messages) // 2:
                    clock.jump_ns = round(jump_s * NS_PER_S)
                await asyncio.sleep(0.01)
            await asyncio.sleep(2.5)  # until the last window has closed
            stop.set()
            await listening
            rows = [json.loads(row) for row in runtime.log.after(0, 1_000)[1]]
            return [row for row in rows if row["arm"] == "baseline"]

    return uvloop.run(run())


@pytest.mark.parametrize(
    ("skew_s", "jump_s"),
    [(0.0, 0.0), (6.0, 0.0), (-61.0, 0.0), (-1.5, 0.0), (0.0, -3_600.0), (0.0, 3_600.0)],
    ids=["right", "venue ahead", "venue behind", "venue a little behind", "clock set back", "clock set forward"],
)
def test_no_message_is_refused_or_late_and_every_second_has_its_window(
    tmp_path: Path, skew_s: float, jump_s: float
) -> None:
    check_windows(fold(replace(WIRE, skew_s=skew_s), tmp_path, jump_s), skew_s)


def test_a_venue_that_does_not_tell_its_time_is_listened_to_all_the_same(tmp_path: Path) -> None:
    check_windows(fold(replace(WIRE, faults=Faults(time_failures=1_000)), tmp_path), 0.0)


def check_windows(windows: list[dict[str, Any]], skew_s: float) -> None:
    wrong = {name: sum(row[name] for row in windows) for name in ("refused", "late", "lost", "duplicates")}
    assert wrong == dict.fromkeys(wrong, 0)
    ends = [row["window_end_ns"] for row in windows]
    assert len(ends) >= 4
    assert {after - before for before, after in itertools.pairwise(ends)} == {NS_PER_S}
    assert abs(ends[-1] - SystemClock().now_ns() - skew_s * NS_PER_S) < 5 * NS_PER_S
    assert sum(row["events"] for row in windows) > SENT - SENT // 3
