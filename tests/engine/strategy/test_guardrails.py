"""The limits of a live candidate: a pure decision, in which nothing that is unknown passes."""

import math
from dataclasses import replace
from typing import Any

import pytest

from engine.strategy.caps import Caps, OrderCaps, PositionCaps
from engine.strategy.guardrails import GuardrailLimits, LiveArm, Readings, breach

NAN, INF = math.nan, math.inf
LIMITS = GuardrailLimits(max_loss_bps=200.0, max_feed_age_s=30.0, max_loop_lag_ms=2_000.0)
CAPS = Caps(("*",), OrderCaps(2e5, 600, 50.0), PositionCaps(1e5), ("*",))
ARM = LiveArm("ETHUSDT.x", earned_bps=0.0, position_usd=0.0, orders=0, strength=0.0)
READINGS = Readings((ARM,), feed_age_s=0.0, loop_lag_ms=0.0, unsound_outputs=0)


def readings(**changes: Any) -> Readings:
    """Ordinary readings but for what is given, of the arm or of the service."""
    of_service = {name: value for name, value in changes.items() if hasattr(READINGS, name)}
    of_arm = {name: value for name, value in changes.items() if name not in of_service}
    return replace(READINGS, **{"arms": (replace(ARM, **of_arm),)} | of_service)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        pytest.param({}, None, id="nothing happened"),
        pytest.param({"earned_bps": -200.0}, None, id="a loss at the limit"),
        pytest.param({"earned_bps": -200.001}, "loss", id="a loss over the limit"),
        pytest.param({"earned_bps": 1e6}, None, id="a profit of any size"),
        pytest.param({"earned_bps": NAN}, "unsound_output", id="a result that is no number"),
        pytest.param({"earned_bps": INF}, "unsound_output", id="a result without end"),
        pytest.param({"position_usd": 1e5}, None, id="a long position at the cap"),
        pytest.param({"position_usd": -1e5}, None, id="a short position at the cap"),
        pytest.param({"position_usd": 100_001.0}, "position", id="a long position over the cap"),
        pytest.param({"position_usd": -100_001.0}, "position", id="a short position over the cap"),
        pytest.param({"position_usd": NAN}, "unsound_output", id="a position that is no number"),
        pytest.param({"orders": 600}, None, id="as many orders as the cap"),
        pytest.param({"orders": 601}, "orders", id="one order over the cap"),
        pytest.param({"strength": NAN}, None, id="a signal that is not known"),
        pytest.param({"strength": -INF}, "unsound_output", id="a signal without end"),
        pytest.param({"feed_age_s": 30.0}, None, id="a feed as old as the limit"),
        pytest.param({"feed_age_s": 30.001}, "feed_age", id="a feed that is too old"),
        pytest.param({"feed_age_s": NAN}, "feed_age", id="a feed of unknown age"),
        pytest.param({"loop_lag_ms": 2_000.0}, None, id="a loop as late as the limit"),
        pytest.param({"loop_lag_ms": 2_000.1}, "loop_lag", id="a loop that is too late"),
        pytest.param({"loop_lag_ms": NAN}, "loop_lag", id="a loop of unknown lag"),
        pytest.param({"unsound_outputs": 1}, "unsound_output", id="a window without numbers"),
        pytest.param({"arms": ()}, None, id="nothing is live"),
    ],
)
def test_a_limit_holds_up_to_and_at_its_value(changes: dict[str, Any], cause: str | None) -> None:
    found = breach(readings(**changes), LIMITS, CAPS)

    assert (found.cause if found is not None else None) == cause


def test_every_live_arm_is_held_to_the_limits_and_the_sentence_names_the_one_that_broke_them() -> None:
    worse = replace(ARM, symbol="BTCUSDT.x", earned_bps=-250.0)

    found = breach(replace(READINGS, arms=(ARM, worse)), LIMITS, CAPS)

    assert found is not None
    assert found.reason == "BTCUSDT.x lost 250.0 bps more than the baseline today, the limit is 200 bps"


@pytest.mark.parametrize("name", ["max_loss_bps", "max_feed_age_s", "max_loop_lag_ms"])
@pytest.mark.parametrize("value", [0.0, -1.0, NAN], ids=["zero", "negative", "no number"])
def test_a_limit_that_limits_nothing_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be > 0"):
        replace(LIMITS, **{name: value})
