"""Signal quality: statistics against oracles, merging against measuring at once, slices, holes."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from engine.metrics import HIST_BINS, JOINT_BINS
from engine.rollout.evidence import Evidence
from engine.rollout.quality import (
    MIN_FIT,
    MIN_PAIRS,
    MIN_SIDE,
    Quality,
    StageQuality,
    auc,
    fit_of,
    gap_error,
    hit_rate,
    measure,
    quality_of,
    rank_ic,
    trigger_rate,
)
from engine.rollout.slices import session_of, volatility_terciles
from tests.making import T0, S

Array = NDArray[np.float64]
NAN = float("nan")
EDGES = np.arange(-2.5, 2.75, 0.5)
Z_EDGES = np.r_[-np.inf, np.linspace(-5, 5, 101), np.inf]
SYMBOLS = ("BTCUSDT.x", "ETHUSDT.x")
FINGERPRINTS = {"baseline": "b" * 12, "canary": "c" * 12}
HORIZON = 250
FIT_KEYS = ("n", "sx", "sy", "sxx", "syy", "sxy")


def binned(values: Array) -> NDArray[np.int64]:
    return np.searchsorted(EDGES, values, side="right")


def joint_of(z: Array, returns: Array) -> Array:
    counts = np.zeros((JOINT_BINS, JOINT_BINS))
    np.add.at(counts, (binned(z), binned(returns)), 1)
    return counts


def fit_sums(x: Array, y: Array) -> dict[str, float]:
    products = (np.ones_like(x), x, y, x * x, y * y, x * y)
    return {key: float(product.sum()) for key, product in zip(FIT_KEYS, products, strict=True)}


def samples(count: int, skill: float = 0.5, seed: int = 1) -> tuple[Array, Array]:
    dice = np.random.default_rng(seed)
    z = dice.normal(size=count)
    return z, skill * z + np.sqrt(1 - skill**2) * dice.normal(size=count)


@st.composite
def tied_samples(draw: st.DrawFn) -> tuple[Array, Array]:
    """z and returns with many ties, in bins of every size, never zero."""
    seed, count = draw(st.integers(0, 2**32 - 1)), draw(st.integers(MIN_PAIRS, 400))
    skill, spread = draw(st.floats(-1, 1)), draw(st.sampled_from([0.3, 1.0, 3.0]))
    z, returns = samples(count, skill, seed)
    return spread * z, spread * returns


@given(tied_samples())
@settings(max_examples=60, deadline=None)
def test_rank_ic_is_spearman_of_the_binned_values(pairs: tuple[Array, Array]) -> None:
    ours = rank_ic(joint_of(*pairs))

    assert ours == pytest.approx(stats.spearmanr(binned(pairs[0]), binned(pairs[1])).statistic, abs=1e-12)


@given(tied_samples())
@settings(max_examples=60, deadline=None)
def test_auc_is_the_share_of_pairs_in_order(pairs: tuple[Array, Array]) -> None:
    z, returns = binned(pairs[0]), pairs[1]
    up, down = z[returns > 0][:, None], z[returns < 0][None, :]

    ours = auc(joint_of(*pairs))

    if min(up.size, down.size) >= MIN_SIDE:
        assert ours == pytest.approx(((up > down) + 0.5 * (up == down)).mean(), abs=1e-12)


@given(tied_samples())
@settings(max_examples=60, deadline=None)
def test_hit_rate_is_the_share_of_returns_with_the_sign_of_z(pairs: tuple[Array, Array]) -> None:
    assert hit_rate(joint_of(*pairs)) == pytest.approx((np.sign(pairs[0]) == np.sign(pairs[1])).mean(), abs=1e-12)


def test_a_mirrored_signal_has_mirrored_quality() -> None:
    z, returns = samples(5_000)
    there, back = quality_of(joint_of(z, returns)), quality_of(joint_of(-z, returns))

    assert (there.rank_ic, there.hit_rate, there.auc) == pytest.approx(
        (-(back.rank_ic or NAN), 1 - (back.hit_rate or NAN), 1 - (back.auc or NAN)), abs=1e-9
    )


def test_bins_cost_little_of_the_rank_ic() -> None:
    z, returns = samples(100_000, skill=0.2)

    assert rank_ic(joint_of(z, returns)) == pytest.approx(stats.spearmanr(z, returns).statistic, rel=0.03)


def test_trigger_rate_counts_what_lies_beyond_two() -> None:
    z = np.random.default_rng(1).normal(0, 2, 3_000)

    assert trigger_rate(np.histogram(z, Z_EDGES)[0]) == pytest.approx((np.abs(z) > 2).mean())


@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.floats(-5, 5), st.floats(0.01, 100))
@settings(max_examples=40, deadline=None)
def test_merged_regression_sums_give_the_regression_of_all_spans(
    seed: int, windows: int, slope: float, scale: float
) -> None:
    dice = np.random.default_rng(seed)
    x = dice.normal(1.0, scale, 40 * windows)
    y = slope * x + dice.normal(size=len(x))
    parts = [fit_sums(*pair) for pair in zip(np.split(x, windows), np.split(y, windows), strict=True)]
    merged = {key: sum(part[key] for part in parts) for key in FIT_KEYS}

    ours, theirs = fit_of(merged), stats.linregress(x, y)

    assert ours.n == len(x)
    assert ours.slope == pytest.approx(theirs.slope, rel=1e-6, abs=1e-9)
    assert ours.r_squared == pytest.approx(theirs.rvalue**2, rel=1e-6, abs=1e-9)


def test_too_little_is_unknown_and_the_floor_is_enough() -> None:
    z, returns = samples(MIN_PAIRS)
    hist = np.histogram(z, Z_EDGES)[0]

    assert quality_of(joint_of(z[1:], returns[1:])) == Quality(MIN_PAIRS - 1, None, None, None)
    assert None not in (rank_ic(joint_of(z, returns)), hit_rate(joint_of(z, returns)), auc(joint_of(z, returns)))
    assert trigger_rate(hist) is not None
    assert trigger_rate(hist - (np.arange(HIST_BINS) == hist.argmax())) is None
    assert fit_of(fit_sums(z[:MIN_FIT], returns[:MIN_FIT])).r_squared is not None
    assert fit_of(fit_sums(z[: MIN_FIT - 1], returns[: MIN_FIT - 1])).r_squared is None


def test_one_sided_returns_have_no_auc() -> None:
    z, returns = samples(500)
    returns = np.abs(returns)
    returns[: MIN_SIDE - 1] *= -1

    assert auc(joint_of(z, returns)) is None
    assert hit_rate(joint_of(z, returns)) is not None


@pytest.mark.parametrize("axis", [0, 1], ids=["a constant z", "a constant return"])
def test_what_never_varies_has_no_rank_ic(axis: int) -> None:
    pairs = list(samples(500))
    pairs[axis] = np.full(500, 0.2)

    assert rank_ic(joint_of(*pairs)) is None


@pytest.mark.parametrize(
    ("x", "y", "slope"),
    [
        pytest.param(np.full(50, 0.1), samples(50)[0], None, id="flow that never varies"),
        pytest.param(samples(50)[0], np.full(50, 0.1), 0.0, id="a mid that never moves"),
    ],
)
def test_what_never_varies_explains_nothing(x: Array, y: Array, slope: float | None) -> None:
    fit = fit_of(fit_sums(x, y))

    assert fit.r_squared is None
    assert fit.slope == (slope if slope is None else pytest.approx(slope, abs=1e-12))


def test_the_gap_error_is_the_scatter_of_the_gap() -> None:
    def joints(seed: int) -> Array:
        z, returns = samples(4_000, 0.3, seed)
        canary = 0.8 * z + 0.6 * np.random.default_rng(seed + 10_000).normal(size=len(z))
        arms = [[joint_of(*part) for part in zip(np.split(of, 20), np.split(returns, 20), strict=True)]
                for of in (z, canary)]  # fmt: skip
        return np.array(arms)

    drawn = [joints(seed) for seed in range(150)]
    gaps = [(rank_ic(of[1].sum(axis=0)) or NAN) - (rank_ic(of[0].sum(axis=0)) or NAN) for of in drawn]

    errors = [gap_error(of) or NAN for of in drawn]

    assert np.mean(errors) == pytest.approx(np.std(gaps), rel=0.2)


def test_the_gap_error_is_the_jackknife_over_segments() -> None:
    z, returns = samples(800)
    canary = np.roll(z, 1)
    parts = [
        [joint_of(*part) for part in zip(np.split(of, 8), np.split(returns, 8), strict=True)] for of in (z, canary)
    ]

    error = gap_error(np.array(parts))

    kept = [np.delete(np.arange(800), slice(100 * segment, 100 * segment + 100)) for segment in range(8)]
    gaps = np.array([
        stats.spearmanr(binned(canary[of]), binned(returns[of])).statistic
        - stats.spearmanr(binned(z[of]), binned(returns[of])).statistic
        for of in kept
    ])  # fmt: skip
    assert error == pytest.approx(np.sqrt(7 / 8 * ((gaps - gaps.mean()) ** 2).sum()))


def test_equal_arms_have_no_gap_and_few_segments_no_error() -> None:
    segments = np.array([joint_of(*samples(300, seed=seed)) for seed in range(8)])

    assert gap_error(np.array([segments, segments])) == 0.0
    assert gap_error(np.array([segments[:7], segments[:7]])) is None


def rows_of(windows: int, per_window: int = 60, skills: tuple[float, float] = (0.2, 0.5)) -> dict[str, Any]:
    """Columns of a windows table with both arms of both symbols, and the samples they were summed from."""
    keys = [(arm, symbol, n) for arm in FINGERPRINTS for symbol in SYMBOLS for n in range(windows)]
    columns: dict[str, Any] = {
        "arm": np.array([arm for arm, _, _ in keys], object),
        "symbol": np.array([symbol for _, symbol, _ in keys], object),
        "window_start_ns": np.array([T0 + n * S for _, _, n in keys]),
        "fingerprint": np.array([FINGERPRINTS[arm] for arm, _, _ in keys], object),
        "mode": np.array(["quiet"] * len(keys), object),
        "volatility_bps": np.array([float(n) for _, _, n in keys]),
    }
    drawn = [samples(per_window, skills[list(FINGERPRINTS).index(arm)], n + 1000) for arm, _, n in keys]
    for signal in ("ofi", "cvd"):
        columns[f"{signal}_joint_{HORIZON}ms"] = lists([joint_of(*pair).ravel() for pair in drawn])
        columns[f"z_{signal}_hist"] = lists([np.histogram(z, Z_EDGES)[0] for z, _ in drawn])
    for key in FIT_KEYS:
        columns[f"ofi_fit_{key}"] = np.array([fit_sums(*pair)[key] for pair in drawn])
    return columns


def lists(items: list[Any]) -> NDArray[Any]:
    column = np.empty(len(items), object)
    column[:] = items
    return column


def evidence(columns: dict[str, Any], windows: int) -> Evidence:
    return Evidence(columns, {}, SYMBOLS, FINGERPRINTS, T0, T0 + windows * S, 1)


def measured(columns: dict[str, Any], windows: int) -> StageQuality:
    found = measure(evidence(columns, windows), (HORIZON,), HORIZON)
    assert found is not None
    return found


@given(st.integers(1, 40), st.integers(3, 80))
@settings(max_examples=25, deadline=None)
def test_windows_merged_are_all_samples_measured_at_once(windows: int, per_window: int) -> None:
    found = measured(rows_of(windows, per_window), windows)

    horizon, fits = found.signals[0].horizons[0], found.fits[SYMBOLS[0]]
    for quality, fit, skill in zip((horizon.baseline, horizon.canary), fits, (0.2, 0.5), strict=True):
        drawn = [samples(per_window, skill, n + 1000) for n in range(windows)]
        z, returns = (np.concatenate([pair[side] for pair in drawn]) for side in (0, 1))
        twice = joint_of(np.tile(z, len(SYMBOLS)), np.tile(returns, len(SYMBOLS)))
        assert quality == quality_of(twice)
        if fit.r_squared is not None:
            assert fit.r_squared == pytest.approx(stats.linregress(z, returns).rvalue ** 2, rel=1e-6)


def test_an_unpaired_window_counts_in_neither_arm() -> None:
    columns = rows_of(10)
    whole = measured(columns, 10).signals[0].horizons[0]
    columns["fingerprint"][0] = "an older one"

    holed = measured(columns, 10).signals[0].horizons[0]

    assert (whole.baseline.pairs, holed.baseline.pairs, holed.canary.pairs) == (1200, 1140, 1140)


@pytest.mark.parametrize("arm", [0, 1], ids=list(FINGERPRINTS))
def test_windows_of_an_older_service_are_left_out_of_both_arms(arm: int) -> None:
    columns = rows_of(10)
    row = arm * 10 * len(SYMBOLS)
    columns["ofi_joint_250ms"][row] = np.asarray(None)
    columns["ofi_fit_n"] = columns["ofi_fit_n"].astype(float)
    columns["ofi_fit_n"][row] = NAN

    found = measured(columns, 10)

    assert {arm.pairs for arm in (found.signals[0].horizons[0].baseline, found.signals[0].horizons[0].canary)} == {1140}
    assert [fit.n for fit in found.fits[SYMBOLS[0]]] == [540, 540]


@pytest.mark.parametrize("columns", [{}, {"arm": np.array([], object)}], ids=["no windows", "no joint histograms"])
def test_windows_without_joint_histograms_were_not_measured(columns: dict[str, Any]) -> None:
    assert measure(evidence(columns, 10), (HORIZON,), HORIZON) is None


def test_what_was_not_summed_is_unknown() -> None:
    columns = rows_of(10)
    for name in [name for name in columns if "fit" in name or name in ("z_cvd_hist", "volatility_bps", "mode")]:
        del columns[name]

    found = measured(columns, 10)

    assert found.fits == {}
    assert found.signals[1].trigger_rates == (None, None)
    assert {piece.kind for piece in found.slices} == {"session"}


def test_a_slice_holds_the_same_windows_of_both_arms() -> None:
    columns = rows_of(12)
    canary = columns["arm"] == "canary"
    columns["mode"][canary & (columns["window_start_ns"] < T0 + 3 * S)] = "active"

    slices = {piece.name: piece for piece in measured(columns, 12).slices if piece.kind == "mode"}

    assert {name: piece.windows for name, piece in slices.items()} == {"active": 6, "quiet": 18}
    assert [arm.pairs for arm in slices["active"].signals["ofi"]] == [360, 360]


def test_arms_share_the_cuts_of_volatility() -> None:
    columns = rows_of(9)
    columns["volatility_bps"][4] = NAN

    slices = [piece for piece in measured(columns, 9).slices if piece.kind == "volatility"]

    assert [(piece.name, piece.windows) for piece in slices] == [("low", 6), ("middle", 5), ("high", 6)]
    assert all(baseline.pairs == canary.pairs for piece in slices for baseline, canary in piece.signals.values())


def test_terciles_are_of_each_symbol_and_skip_what_is_not_known() -> None:
    codes = volatility_terciles(np.array([[1.0, 2.0, 3.0, NAN], [30.0, 20.0, 10.0, 40.0], [NAN] * 4]))

    assert codes.tolist() == [[0, 1, 2, -1], [1, 0, 0, 2], [-1] * 4]


def test_a_session_without_windows_is_left_out() -> None:
    sessions = [piece.name for piece in measured(rows_of(5), 5).slices if piece.kind == "session"]

    assert sessions == ["tokyo"]


@pytest.mark.parametrize(
    ("utc", "session"),
    [
        ("2025-07-15T00:00", "tokyo"),
        ("2025-07-15T06:59", "tokyo"),
        ("2025-07-15T07:00", "london"),
        ("2025-07-15T13:00", "new_york"),
        ("2025-07-15T20:59", "new_york"),
        ("2025-07-15T21:00", "off_hours"),
        ("2025-01-15T07:00", "off_hours"),
        ("2025-01-15T08:00", "london"),
        ("2025-01-15T13:00", "london"),
        ("2025-01-15T14:00", "new_york"),
        ("2025-01-15T22:00", "off_hours"),
        ("2025-03-20T13:00", "new_york"),
        ("2025-01-18T14:00", "new_york"),
    ],
)
def test_sessions_follow_local_clocks(utc: str, session: str) -> None:
    at = datetime.fromisoformat(utc).replace(tzinfo=UTC)

    assert session_of(int(at.timestamp()) * S) == session


def test_a_frame_without_windows_is_measured_as_nothing() -> None:
    found = measure(replace(evidence(rows_of(3), 3), end_ns=T0), (HORIZON,), HORIZON)

    assert found is not None
    assert found.signals[0].horizons[0].baseline == Quality(0, None, None, None)
    assert found.slices == ()
