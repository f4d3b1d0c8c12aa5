"""Streaming z-scores against what a batch computation says."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.strategy.kernels.numerics import next_z, update_moments
from engine.strategy.layout import MOMENTS, Z_EWMA, Z_RING, Z_ROBUST, Z_ROLLING, Z_STATE

KINDS = [
    pytest.param(Z_EWMA, id="ewma"),
    pytest.param(Z_ROLLING, id="rolling"),
    pytest.param(Z_ROBUST, id="robust"),
]
LONG = 1000


class Z:
    """One z-score and what it is asked for."""

    def __init__(self, kind: int = Z_EWMA, *, min_count: int = 2, window: int = LONG, floor: float = 0.0) -> None:
        self.state: Any = np.zeros(1, Z_STATE)[0]
        self.kind, self.min_count, self.window, self.floor = kind, min_count, window, floor

    def next(self, x: float, alpha: float = 0.1) -> float | None:
        z = next_z(self.state, float(x), self.kind, alpha, self.window, self.floor, self.min_count)
        return None if math.isnan(z) else z

    def last(self, xs: list[float], alpha: float = 0.1) -> float | None:
        """Return the z of the last of these values."""
        return [self.next(x, alpha) for x in xs][-1]


def moments_of(xs: list[float], alpha: float) -> tuple[float, float]:
    """Weighted mean and variance, with each value's final weight worked out explicitly."""
    steps = [max(alpha, 1.0 / count) for count in range(1, len(xs) + 1)]
    weights = np.array([step * math.prod(1.0 - later for later in steps[i + 1 :]) for i, step in enumerate(steps)])
    values = np.array(xs)
    mean = float(weights @ values)
    return mean, float(weights @ (values - mean) ** 2)


def centre_and_scale(kind: int, past: list[float], alpha: float) -> tuple[float, float]:
    """What a value is compared with, by the definition of each kind."""
    if kind == Z_EWMA:
        mean, var = moments_of(past, alpha)
        return mean, math.sqrt(var)
    if kind == Z_ROLLING:
        return float(np.mean(past)), float(np.std(past, ddof=1))
    middle = float(np.median(past))
    return middle, 1.482602218505602 * float(np.median(np.abs(np.array(past) - middle)))


VALUES = st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 3)), min_size=3, max_size=40)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=100, deadline=None)
@given(xs=VALUES, alpha=st.floats(0.01, 0.9), window=st.integers(2, 45))
def test_z_is_the_distance_to_the_past_in_its_own_deviations(
    kind: int, xs: list[float], alpha: float, window: int
) -> None:
    seen = Z(kind, window=window).last(xs, alpha)

    past = xs[:-1] if kind == Z_EWMA else xs[:-1][-window:]
    centre, scale = centre_and_scale(kind, past, alpha)
    if scale > 1e-3:
        assert seen == pytest.approx((xs[-1] - centre) / scale, rel=1e-6, abs=1e-6)


@settings(max_examples=80, deadline=None)
@given(xs=VALUES, alpha=st.floats(0.01, 0.9))
def test_moments_agree_with_the_batch_formula(xs: list[float], alpha: float) -> None:
    moments: Any = np.zeros(1, MOMENTS)[0]
    for x in xs:
        update_moments(moments, x, alpha)

    mean, var = moments_of(xs, alpha)
    assert moments["count"] == len(xs)
    assert moments["mean"] == pytest.approx(mean, rel=1e-9, abs=1e-6)
    assert math.sqrt(moments["var"]) == pytest.approx(math.sqrt(var), rel=1e-5, abs=1e-4)


def test_a_small_alpha_gives_plain_running_moments_at_the_start() -> None:
    xs = [3.0, 1.0, 4.0, 1.0, 5.0]

    assert Z().last([*xs, 9.0], 1e-6) == pytest.approx((9.0 - np.mean(xs)) / np.std(xs))


@pytest.mark.parametrize(
    ("kind", "z"),
    [
        pytest.param(Z_EWMA, 1000.0, id="ewma"),
        pytest.param(Z_ROLLING, 1000.0 * math.sqrt(19 / 20), id="rolling"),
        pytest.param(Z_ROBUST, 1000.0 / 1.482602218505602, id="robust"),
    ],
)
def test_the_current_value_is_not_in_its_own_baseline(kind: int, z: float) -> None:
    assert Z(kind).last([1.0, -1.0] * 10 + [1000.0], 1e-6) == pytest.approx(z)


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_no_z_until_enough_values_came_before(kind: int) -> None:
    z = Z(kind, min_count=4)

    seen = [z.next(x) for x in (1.0, 2.0, 1.0, 2.0, 1.0)]

    assert seen[:4] == [None] * 4
    assert seen[4] is not None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0.0, 0.1, -1e9 / 3])
def test_a_series_that_never_varied_has_no_z(kind: int, value: float) -> None:
    z = Z(kind)

    assert [z.next(value, 0.2) for _ in range(40)] == [None] * 40
    assert z.next(5.0, 0.2) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_floor_stands_in_for_a_deviation_that_is_smaller(kind: int) -> None:
    assert Z(kind, floor=2.0).last([0.1] * 30 + [5.1]) == pytest.approx(2.5)
    assert Z(kind, floor=0.01).last([7.0, -7.0] * 10 + [3.0]) == Z(kind).last([7.0, -7.0] * 10 + [3.0])


def test_more_than_half_equal_values_leave_a_robust_z_to_its_floor() -> None:
    past = [0.0] * 11 + [50.0, -70.0] * 5

    assert Z(Z_ROBUST).last([*past, 3.0]) is None
    assert Z(Z_ROBUST, floor=1.5).last([*past, 3.0]) == pytest.approx(2.0)


def test_one_huge_value_hardly_moves_a_robust_z() -> None:
    calm = [float(n) for n in range(-50, 51)]

    with_outlier, without = (Z(Z_ROBUST).last([*extra, *calm, 90.0]) for extra in ([1e9], []))

    assert with_outlier == pytest.approx(without, rel=0.05)
    assert Z(Z_ROLLING).last([1e9, *calm, 90.0]) == pytest.approx(0.0, abs=0.2)


@pytest.mark.parametrize("kind", [pytest.param(Z_ROLLING, id="rolling"), pytest.param(Z_ROBUST, id="robust")])
def test_values_older_than_the_window_are_forgotten(kind: int) -> None:
    recent = [1.0, 4.0, 2.0, 8.0, 5.0]

    assert Z(kind, window=5).last([1e6, -1e6, 3e6, *recent, 9.0]) == Z(kind, window=5).last([*recent, 9.0])


@pytest.mark.parametrize("kind", [pytest.param(Z_ROLLING, id="rolling"), pytest.param(Z_ROBUST, id="robust")])
@pytest.mark.parametrize("window", [20, Z_RING])
def test_the_last_values_are_known_after_the_ring_has_gone_round(kind: int, window: int) -> None:
    xs = [math.sin(n) * (n % 17) for n in range(2 * Z_RING + 300)]

    seen = Z(kind, window=window).last(xs)

    centre, scale = centre_and_scale(kind, xs[-1 - window : -1], 0.1)
    assert seen == pytest.approx((xs[-1] - centre) / scale, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(xs=VALUES, scale=st.sampled_from([1e-6, 0.25, 3.0, 1e6]), shift=st.sampled_from([0.0, 7.0]))
def test_z_does_not_change_with_the_unit(kind: int, xs: list[float], scale: float, shift: float) -> None:
    plain, scaled = Z(kind), Z(kind)

    for x in xs:
        a, b = plain.next(x), scaled.next(scale * (x + shift))

        if a is not None and b is not None and abs(a) < 1e6:
            assert b == pytest.approx(a, rel=1e-6, abs=1e-6)


def test_another_alpha_rebuilds_nothing() -> None:
    z = Z(min_count=3)
    for x in (1.0, 3.0, 2.0, 4.0):
        z.next(x, 1e-6)

    assert z.next(2.0, 0.9) == pytest.approx((2.0 - 2.5) / np.std([1.0, 3.0, 2.0, 4.0]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("window", [5, 30])
def test_another_kind_and_window_read_the_values_that_are_there(kind: int, window: int) -> None:
    xs = [float(n * n % 23) for n in range(40)]
    changed, always = Z((kind + 1) % 3, window=12), Z(kind, window=window)
    changed.last(xs)
    always.last(xs)

    changed.kind, changed.window = kind, window

    assert changed.next(9.0) == always.next(9.0)
