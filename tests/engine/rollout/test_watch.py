"""Back conditions that need no statistics, one look at a time."""

import math
from dataclasses import replace
from typing import Any

import pytest

from engine.rollout.state import Order, RolloutState, StageState
from engine.rollout.watch import HANG_S, Sight, back_condition
from tests.making_rollout import SPEC, SYMBOLS

CANDIDATE, BASELINE = "candidate-1", SPEC.baseline.fingerprint
STAGE = StageState(
    "10pct", symbols=SYMBOLS[:1], fingerprint=CANDIDATE, is_deployed=True, boot="boot-1", alerts_before=2
)
STATE = RolloutState(rollout="r", stages=(STAGE,))


def status(**changes: Any) -> dict[str, Any]:
    health = {"update_p99_ms": 1.0, "rss_mb": 200.0, "alerts": {"update_failed": 2}, **changes.pop("health", {})}
    live = {SYMBOLS[0]: CANDIDATE, SYMBOLS[1]: BASELINE}
    return {"live": live, "stable": BASELINE, "boot": "boot-1", "latch": None, "health": health, **changes}


def sight(found: dict[str, Any] | None, *, is_alive: bool = True, silent_s: float = 0.0, stuck_s: float = 0.0) -> Sight:
    return Sight(is_alive, found, silent_s, stuck_s)


def reason(state: RolloutState, seen: Sight) -> str | None:
    return back_condition(SPEC.plan, BASELINE, state, seen)


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(sight(status()), id="as it should be"),
        pytest.param(sight(None, silent_s=HANG_S), id="silent for exactly as long as it may"),
        pytest.param(sight(status(), stuck_s=HANG_S), id="still for exactly as long as it may"),
        pytest.param(sight(status(health={"update_p99_ms": 200.0})), id="an update exactly at the limit"),
        pytest.param(sight(status(health={"update_p99_ms": None})), id="no update yet"),
    ],
)
def test_what_is_within_limits_is_left_alone(seen: Sight) -> None:
    assert reason(STATE, seen) is None


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        pytest.param(sight(None, silent_s=HANG_S + 0.1), "not answered", id="silent"),
        pytest.param(sight(status(), stuck_s=HANG_S + 0.1), "not moved", id="its market stands"),
        pytest.param(sight(status(latch={"reason": "lost 250 bps"})), "lost 250 bps", id="latched"),
        pytest.param(sight(status(live={SYMBOLS[0]: BASELINE})), "nobody ordered", id="the candidate is gone"),
        pytest.param(
            sight(status(live={SYMBOLS[0]: CANDIDATE, SYMBOLS[1]: CANDIDATE})), SYMBOLS[1], id="one symbol more"
        ),
        pytest.param(sight(status(live={SYMBOLS[0]: "other"})), "other", id="other parameters"),
        pytest.param(sight(status(live={})), "runs None", id="no symbol at all"),
        pytest.param(sight(status(health={"update_p99_ms": 200.1})), "update_p99_ms", id="slow updates"),
        pytest.param(sight(status(health={"update_p99_ms": math.nan})), "update_p99_ms", id="NaN is no pass"),
        pytest.param(sight(status(health={"rss_mb": math.inf})), "memory_mb", id="memory"),
        pytest.param(sight(status(health={"alerts": {"update_failed": 3}})), "critical_alerts", id="one more alert"),
    ],
)
def test_what_is_not_as_it_should_be_is_said(seen: Sight, said: str) -> None:
    assert said in (reason(STATE, seen) or "")


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(RolloutState(), id="nothing is deployed"),
        pytest.param(replace(STATE, outcome="rolled_back"), id="it was rolled back"),
        pytest.param(
            replace(STATE, rolling_back=Order(1, None, "", "", None, "", 0)), id="it is being rolled back already"
        ),
    ],
)
def test_where_nothing_is_live_there_is_nothing_to_take_back(state: RolloutState) -> None:
    assert reason(state, sight(status(latch={"reason": "x"}))) is None


def test_symbols_that_were_taken_off_are_expected_on_the_baseline() -> None:
    state = replace(STATE, set_back=frozenset(SYMBOLS[:1]))

    assert reason(state, sight(status(live={SYMBOLS[0]: BASELINE}))) is None
    assert "nobody ordered" in (reason(state, sight(status())) or "")


def test_a_crash_is_over_the_limit_of_a_plan_that_allows_none() -> None:
    state = replace(STATE, stages=(replace(STAGE, crashes=1),))

    assert "crashed 1" in (reason(state, sight(None, is_alive=False)) or "")
