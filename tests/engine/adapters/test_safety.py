"""The service on its own while it runs: lease, dead-man switch, guardrails, latch and kill."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.adapters.standing import StandingFiles
from engine.clock import FakeClock
from engine.errors import RefusedError
from engine.strategy.caps import Caps, OrderCaps, PositionCaps
from engine.strategy.events import TICK_NS
from engine.strategy.layout import CANARY_ARM
from tests.making import T0, S
from tests.making_service import (
    BASELINE_LIVE,
    CANDIDATE,
    CANDIDATE_LIVE,
    SYMBOLS,
    TTL_S,
    deployed,
    do,
    quotes_until,
    request,
    runtime_in,
)  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "cause"),
    [
        pytest.param(0.0, None, id="just renewed"),
        pytest.param(TTL_S, None, id="exactly at its time to live"),
        pytest.param(TTL_S + 1e-9, "lease", id="a nanosecond over it"),
        pytest.param(1e9, "lease", id="long over it"),
    ],
)
def test_a_candidate_stays_live_as_long_as_the_lease_holds(tmp_path: Path, seconds: float, cause: str | None) -> None:
    clock = FakeClock()
    runtime = deployed(tmp_path, clock)

    clock.sleep(seconds)
    runtime.safety.check_lease()

    latch = runtime.status()["latch"]
    assert (latch["cause"] if latch is not None else None) == cause
    assert runtime.status()["live"] == (CANDIDATE_LIVE if cause is None else BASELINE_LIVE)
    assert runtime.status()["lease"]["is_live"] is (cause is None)


def test_renewals_keep_it_live_for_ever(tmp_path: Path) -> None:
    clock = FakeClock()
    runtime = deployed(tmp_path, clock)

    for _ in range(10):
        clock.sleep(TTL_S)
        do(runtime, "renew", epoch=1)

    assert do(runtime, "status")["live"] == CANDIDATE_LIVE


def test_nothing_trips_where_only_the_baseline_is_live(tmp_path: Path) -> None:
    clock = FakeClock()
    runtime = deployed(tmp_path, clock, live=())

    clock.sleep(100 * TTL_S)
    runtime.safety.check()

    assert runtime.status()["latch"] is None


def test_a_renewal_that_comes_too_late_does_not_undo_the_dead_mans_switch(tmp_path: Path) -> None:
    clock = FakeClock()
    runtime = deployed(tmp_path, clock)
    clock.sleep(TTL_S + 1)

    status = do(runtime, "renew", epoch=1)

    assert (status["latch"]["cause"], status["live"]) == ("lease", BASELINE_LIVE)
    assert status["lease"] == {"epoch": 1, "age_s": 0.0, "ttl_s": TTL_S, "is_live": True}
    with pytest.raises(RefusedError, match="graygate rearm"):
        do(runtime, "apply", **request(CANDIDATE))


def test_the_lease_of_a_partial_rollback_runs_out_for_the_symbols_that_stay_live(tmp_path: Path) -> None:
    clock = FakeClock()
    runtime = deployed(tmp_path, clock)

    status = do(runtime, "roll_back", epoch=2, symbols=[SYMBOLS[0]])
    assert (status["lease"]["is_live"], status["latch"]) == (False, None)
    with pytest.raises(RefusedError, match="epoch 1 is older than 2"):
        do(runtime, "renew", epoch=1)
    clock.sleep(TTL_S + 1)

    assert do(runtime, "status")["latch"]["cause"] == "lease"


@pytest.mark.parametrize(
    ("renewed", "asked", "says"),
    [
        pytest.param(None, 1, "no live lease of epoch 1", id="never given"),
        pytest.param(1, 2, "no live lease of epoch 2", id="of an epoch before"),
        pytest.param(2, 1, "epoch 1 is older than 2", id="of a later epoch"),
    ],
)
def test_nothing_goes_live_without_a_lease_of_the_same_epoch(
    tmp_path: Path, renewed: int | None, asked: int, says: str
) -> None:
    runtime = runtime_in(tmp_path)
    if renewed is not None:
        do(runtime, "renew", epoch=renewed)

    with pytest.raises(RefusedError, match=says):
        do(runtime, "apply", **request(CANDIDATE, epoch=asked))

    assert runtime.status()["live"] == BASELINE_LIVE


def test_nothing_goes_live_once_the_lease_has_run_out(tmp_path: Path) -> None:
    clock = FakeClock()
    runtime = runtime_in(tmp_path, clock)
    do(runtime, "renew", epoch=1)
    clock.sleep(TTL_S + 1)

    with pytest.raises(RefusedError, match="no live lease of epoch 1"):
        do(runtime, "apply", **request(CANDIDATE))


def test_the_baseline_is_back_and_latched_when_a_canary_loses_too_much(tmp_path: Path) -> None:
    runtime = deployed(tmp_path, FakeClock())
    runtime.host.folding.memory.market["arms"]["equity_bps"][1, CANARY_ARM] -= 200.5

    runtime.safety.check()

    status = runtime.status()
    assert status["live"] == BASELINE_LIVE
    assert status["latch"] | {"swap_ms": 0} == {
        "cause": "loss", "at_ns": T0 + S, "epoch": 1, "swap_ms": 0,
        "reason": f"{SYMBOLS[1]} lost 200.5 bps more than the baseline today, the limit is 200 bps",
    }  # fmt: skip
    assert status["health"]["alerts"]["guardrail_loss"] == 1


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        pytest.param(lambda arms: arms["position"].fill(1), "position", id="a position over the cap"),
        pytest.param(lambda arms: arms["orders_ns"][0, :4].fill(T0 + S), "orders", id="more orders than the cap"),
        pytest.param(lambda arms: arms["equity_bps"].fill(float("nan")), "unsound_output", id="a result that is none"),
        pytest.param(lambda arms: arms["strength"].fill(float("inf")), "unsound_output", id="a signal without end"),
    ],
)
def test_a_canary_beyond_its_limits_is_taken_back(tmp_path: Path, spoil: Callable[[Any], None], cause: str) -> None:
    caps = Caps(("*",), OrderCaps(1e9, 3, 10_000.0), PositionCaps(1_000.0), ("*",))
    runtime = deployed(tmp_path, FakeClock(), caps=caps)
    assert runtime.status()["latch"] is None

    spoil(runtime.host.folding.memory.market["arms"][:, CANARY_ARM])
    runtime.safety.check()

    assert runtime.status()["latch"]["cause"] == cause
    assert runtime.status()["live"] == BASELINE_LIVE


def test_a_window_without_numbers_takes_the_candidate_back(tmp_path: Path) -> None:
    runtime = deployed(tmp_path, FakeClock())
    runtime.host.folding.memory.market["arms"]["window"]["gross_bps"][0, 0] = float("nan")
    quotes_until(runtime, T0 + 2 * S)

    runtime.safety.check()

    assert runtime.status()["latch"]["cause"] == "unsound_output"


def test_windows_without_numbers_before_the_deploy_are_not_held_against_it(tmp_path: Path) -> None:
    runtime = runtime_in(tmp_path)
    runtime.alerts["unsound_output"] = 3
    runtime.safety.check()
    do(runtime, "renew", epoch=1)
    do(runtime, "apply", **request(CANDIDATE))

    runtime.safety.check()

    assert runtime.status()["latch"] is None


def test_a_live_market_that_falls_silent_takes_the_candidate_back(tmp_path: Path) -> None:
    clock = FakeClock()
    runtime = deployed(tmp_path, clock)
    for _ in range(30):
        clock.sleep(1)
        do(runtime, "renew", epoch=1)
        runtime.safety.check()
    assert runtime.status()["latch"] is None

    clock.sleep(0.25)
    runtime.safety.check()

    assert runtime.status()["latch"]["cause"] == "feed_age"


def test_a_played_market_may_wait_for_permission_as_long_as_it_likes(tmp_path: Path) -> None:
    clock = FakeClock()
    runtime = deployed(tmp_path, clock, is_market_live=False)

    for _ in range(600):
        clock.sleep(1)
        do(runtime, "renew", epoch=1)
        runtime.safety.check()

    assert runtime.status()["latch"] is None


@pytest.mark.parametrize(("seconds", "cause"), [(30, None), (31, "feed_age")])
def test_a_played_market_is_held_to_its_own_time(tmp_path: Path, seconds: int, cause: str | None) -> None:
    runtime = deployed(tmp_path, FakeClock(), is_market_live=False)
    newest_ns = runtime.host.newest_event_ns()
    runtime.tick(newest_ns // TICK_NS * TICK_NS + seconds * S)

    runtime.safety.check()

    latch = runtime.status()["latch"]
    assert (latch["cause"] if latch is not None else None) == cause


def test_a_loop_that_stands_takes_the_candidate_back(tmp_path: Path) -> None:
    runtime = deployed(tmp_path, FakeClock())
    runtime.safety.loop_lag_ms = 2_001.0

    runtime.safety.check()

    assert runtime.status()["latch"]["cause"] == "loop_lag"


def test_the_guard_loop_checks_by_itself(tmp_path: Path) -> None:
    clock = FakeClock()
    runtime = deployed(tmp_path, clock)

    async def story() -> None:
        guarding = asyncio.ensure_future(runtime.safety.guard())
        clock.sleep(TTL_S + 1)
        while runtime.host.exposed():  # noqa: ASYNC110 - the loop is watched from outside
            await asyncio.sleep(0.01)
        while StandingFiles(tmp_path).read().latch is None:  # noqa: ASYNC110 - written by a thread
            await asyncio.sleep(0.01)
        guarding.cancel()

    asyncio.run(asyncio.wait_for(story(), 20))

    assert runtime.status()["latch"]["cause"] == "lease"


def test_only_a_later_epoch_re_arms_after_a_latch(tmp_path: Path) -> None:
    runtime = deployed(tmp_path, FakeClock())
    runtime.safety.loop_lag_ms = 1e9
    runtime.safety.check()
    runtime.safety.loop_lag_ms = 0.0

    with pytest.raises(RefusedError, match="above 1"):
        do(runtime, "rearm", epoch=1)
    assert do(runtime, "rearm", epoch=2)["latch"] is None
    do(runtime, "renew", epoch=2)
    assert do(runtime, "apply", **request(CANDIDATE, epoch=2))["live"] == CANDIDATE_LIVE


def test_only_a_later_epoch_re_arms_after_a_kill(tmp_path: Path) -> None:
    runtime = deployed(tmp_path, FakeClock())
    status = do(runtime, "kill", epoch=2)
    assert (status["killed"], status["flat"], status["live"]) == (list(SYMBOLS), True, BASELINE_LIVE)

    with pytest.raises(RefusedError, match="above 2"):
        do(runtime, "rearm", epoch=2)
    assert do(runtime, "rearm", epoch=3)["killed"] == []


def test_an_apply_that_was_asked_before_a_kill_is_not_carried_out_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = runtime_in(tmp_path)
    do(runtime, "renew", epoch=1)

    async def story() -> None:
        applying = asyncio.ensure_future(runtime.commands()["apply"](request(CANDIDATE)))
        await asyncio.sleep(0)
        await runtime.commands()["kill"]({"epoch": 1})
        await applying

    with pytest.raises(RefusedError):
        asyncio.run(story())
    assert runtime.status()["live"] == BASELINE_LIVE
