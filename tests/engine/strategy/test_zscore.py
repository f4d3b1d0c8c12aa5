"""Streaming z-scores against what a batch computation says."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.strategy.zscore import EwmaMoments, EwmaZ, alpha_of_half_life, alpha_of_span


def moments_of(xs: list[float], alpha: float) -> tuple[float, float]:
    """Weighted mean and variance, with each value's final weight worked out explicitly."""
    steps = [max(alpha, 1.0 / count) for count in range(1, len(xs) + 1)]
    weights = np.array([step * math.prod(1.0 - later for later in steps[i + 1 :]) for i, step in enumerate(steps)])
    values = np.array(xs)
    mean = float(weights @ values)
    return mean, float(weights @ (values - mean) ** 2)


VALUES = st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 3)), min_size=2, max_size=40)


@settings(max_examples=150, deadline=None)
@given(xs=VALUES, alpha=st.floats(0.01, 0.9))
def test_z_is_the_distance_to_the_weighted_past_in_its_own_deviations(xs: list[float], alpha: float) -> None:
    z = EwmaZ(min_count=1)

    seen = [z.update(x, alpha) for x in xs]

    mean, var = moments_of(xs[:-1], alpha)
    if var > 1e-6:
        assert seen[-1] == pytest.approx((xs[-1] - mean) / math.sqrt(var), rel=1e-6, abs=1e-6)


@settings(max_examples=80, deadline=None)
@given(xs=VALUES, alpha=st.floats(0.01, 0.9))
def test_moments_agree_with_the_batch_formula(xs: list[float], alpha: float) -> None:
    moments = EwmaMoments()
    for x in xs:
        moments.update(x, alpha)

    mean, var = moments_of(xs, alpha)
    assert moments.mean == pytest.approx(mean, rel=1e-9, abs=1e-6)
    assert moments.sd() == pytest.approx(math.sqrt(var), rel=1e-5, abs=1e-4)


def test_a_small_alpha_gives_plain_running_moments_at_the_start() -> None:
    xs = [3.0, 1.0, 4.0, 1.0, 5.0]
    z = EwmaZ(min_count=5)
    for x in xs:
        z.update(x, 1e-6)

    assert z.update(9.0, 1e-6) == pytest.approx((9.0 - np.mean(xs)) / np.std(xs))


def test_the_current_value_is_not_in_its_own_baseline() -> None:
    calm = [1.0, -1.0] * 10
    z = EwmaZ(min_count=10)
    for x in calm:
        z.update(x, 1e-6)

    assert z.update(1000.0, 1e-6) == pytest.approx(1000.0)


def test_there_is_no_z_until_enough_values_came_before() -> None:
    z = EwmaZ(min_count=4)

    seen = [z.update(x, 0.1) for x in (1.0, 2.0, 1.0, 2.0, 1.0)]

    assert seen[:4] == [None] * 4
    assert seen[4] is not None


def test_a_series_that_never_varied_has_no_z() -> None:
    z = EwmaZ(min_count=2)

    assert [z.update(0.1, 0.2) for _ in range(20)] == [None] * 20
    assert z.update(5.0, 0.2) is None


@settings(max_examples=80, deadline=None)
@given(xs=VALUES, scale=st.sampled_from([1e-6, 0.25, 3.0, 1e6]), shift=st.sampled_from([0.0, 7.0]))
def test_z_does_not_change_with_the_unit(xs: list[float], scale: float, shift: float) -> None:
    plain, scaled = EwmaZ(min_count=2), EwmaZ(min_count=2)

    for x in xs:
        a, b = plain.update(x, 0.1), scaled.update(scale * (x + shift), 0.1)

        if a is not None and b is not None and abs(a) < 1e6:
            assert b == pytest.approx(a, rel=1e-6, abs=1e-6)


def test_changing_alpha_rebuilds_nothing() -> None:
    z = EwmaZ(min_count=3)
    for x in (1.0, 3.0, 2.0, 4.0):
        z.update(x, 0.1)

    assert z.update(2.0, 0.9) is not None


def test_half_life_and_span_mean_what_they_say() -> None:
    assert (1 - alpha_of_half_life(7)) ** 7 == pytest.approx(0.5)
    assert alpha_of_span(9) == pytest.approx(0.2)
