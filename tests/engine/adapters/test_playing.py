"""Playing a market as fast as the machine can: the doors are looked at in between."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

from engine.adapters.playing import TURN_NS, play
from engine.clock import NS_PER_S, FakeClock
from engine.strategy.events import TICK_NS, Slice
from tests.making import T0
from tests.making_service import runtime_in

SLICES = 100


class Tape:
    """A market in which nothing happens, for a hundred seconds. Each slice takes the machine `work_ns`."""

    def __init__(self, clock: FakeClock, work_ns: int) -> None:
        self._clock = clock
        self._work_ns = work_ns

    def slices(self, step_ns: int = TICK_NS) -> Iterator[Slice]:
        for second in range(SLICES):
            self._clock.at_ns += self._work_ns
            yield Slice(T0 + second * NS_PER_S, T0 + (second + 1) * NS_PER_S, {})


def turns_while_playing(folder: Path, work_ns: int) -> int:
    """How often somebody else got a turn while all of the tape was folded."""
    clock = FakeClock()
    runtime = runtime_in(folder, clock, is_market_live=False)
    runtime.horizon_ns = T0 + SLICES * NS_PER_S

    async def story() -> int:
        playing = asyncio.ensure_future(play(runtime, Tape(clock, work_ns), 0.0, clock))  # type: ignore[arg-type]
        turns = 0
        while not playing.done():
            await asyncio.sleep(0)
            turns += 1
        return turns

    turns = asyncio.run(story())
    assert runtime.exhausted
    assert runtime.host.clock_ns == T0 + SLICES * NS_PER_S
    return turns


def test_slow_slices_leave_a_turn_to_others_after_each(tmp_path: Path) -> None:
    assert turns_while_playing(tmp_path, 2 * TURN_NS) >= SLICES


def test_fast_slices_share_a_turn(tmp_path: Path) -> None:
    assert turns_while_playing(tmp_path, TURN_NS // 20) <= SLICES // 10
