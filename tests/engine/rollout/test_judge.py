"""The judge: statistics against oracles, comparisons that cannot be fooled, evidence with holes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from scipy.fft import dct

from config.loader import CONFIG_DIR, load_programme
from engine.rollout.evidence import Evidence, PairedWindows
from engine.rollout.judge.distribution import compare_histograms
from engine.rollout.judge.judge import Look, judge
from engine.rollout.judge.limits import judge_limit
from engine.rollout.judge.paired import Levels, compare
from engine.rollout.judge.statistics import (
    cosine_mean,
    inflated_mean,
    poisson_bounds,
    resampled_blocks,
    variance_inflation,
    wasserstein,
)
from engine.rollout.plan import Condition, Judging, Plan, Stage
from engine.rollout.verdict import Finding, Verdict, overall
from tests.making import T0, S

Array = NDArray[np.float64]
NAN = float("nan")

LAST = Levels(rollback=0.01, advance=0.05, min_blocks=8)
EARLY = replace(LAST, advance=None)


def noise(blocks: int, seed: int = 1, phi: float = 0.0) -> Array:
    """A stationary AR(1) series with unit variance."""
    shocks = np.random.default_rng(seed).normal(size=blocks) * np.sqrt(1 - phi**2)
    shocks[0] /= np.sqrt(1 - phi**2)
    for index in range(1, blocks):
        shocks[index] += phi * shocks[index - 1]
    return shocks


def test_without_correlation_the_inflated_mean_is_the_t_test() -> None:
    values = np.array([1.0, -1.0] * 20) + 0.3

    ours = inflated_mean(values)

    theirs = stats.ttest_1samp(values, 0.0, alternative="less")
    assert variance_inflation(values) == 1.0
    assert ours.t == pytest.approx(theirs.statistic)
    assert ours.p_below_zero() == pytest.approx(theirs.pvalue)
    assert ours.bound(0.05) == pytest.approx(stats.t.ppf(0.95, len(values) - 1) * stats.sem(values))


def test_variance_inflation_follows_its_formula() -> None:
    values = noise(400, phi=0.6)
    centred = values - values.mean()
    raw = float((centred[1:] * centred[:-1]).sum() / (centred**2).sum())
    r = raw + (1 + 4 * raw) / 400

    assert variance_inflation(values) == pytest.approx((1 + r) / (1 - r))
    assert 2.0 < variance_inflation(values) < 8.0


@pytest.mark.parametrize("n", [8, 9, 40, 171])
def test_the_cosine_error_is_that_of_the_dct(n: int) -> None:
    values = noise(n, seed=n, phi=0.4) + 2.0
    df = max(1, int(0.41 * n ** (2 / 3)))

    ours = cosine_mean(values)

    projections = dct(values, type=2, norm="ortho")[1 : df + 1]
    assert ours.df == df
    assert ours.standard_error == pytest.approx(np.sqrt((projections**2).mean() / n))
    assert ours.bound(0.05) == pytest.approx(stats.t.ppf(0.95, df) * ours.standard_error)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 50])
@pytest.mark.parametrize("alpha", [0.001, 0.05])
def test_poisson_bounds_are_garwoods(count: int, alpha: float) -> None:
    low, high = poisson_bounds(count, alpha)

    assert low == pytest.approx(stats.gamma.ppf(alpha, count) if count else 0.0)
    assert high == pytest.approx(stats.gamma.ppf(1 - alpha, count + 1))


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=2, max_size=30))
def test_the_distance_of_two_histograms_is_scipys(counts: list[tuple[int, int]]) -> None:
    a, b = np.array(counts, float).T + np.array([[1.0], [2.0]])
    at = np.arange(len(a)) * 0.1

    assert wasserstein(a, b, 0.1) == pytest.approx(stats.wasserstein_distance(at, at, a, b), abs=1e-12)


def test_every_draw_takes_as_many_blocks_as_there_are() -> None:
    counts = resampled_blocks(17, 3, 50, seed=1)

    assert counts.shape == (50, 17)
    assert set(counts.sum(axis=1)) == {17.0}
    assert np.array_equal(counts, resampled_blocks(17, 3, 50, seed=1))


@pytest.mark.parametrize("levels", [EARLY, LAST], ids=["early", "last"])
def test_identical_arms_pass(levels: Levels) -> None:
    values = noise(40) + 1.0

    result = compare(values, values.copy(), 0.05, True, levels)

    assert result.verdict is Verdict.PASS
    assert result.identical


@pytest.mark.parametrize(
    ("canary_shift", "higher", "levels", "verdict"),
    [
        pytest.param(-0.3, True, EARLY, Verdict.FAIL, id="a clear loss fails early"),
        pytest.param(-0.3, True, LAST, Verdict.FAIL, id="a clear loss fails at the end"),
        pytest.param(+0.3, True, EARLY, Verdict.INCONCLUSIVE, id="a clear gain does not pass early"),
        pytest.param(+0.3, True, LAST, Verdict.PASS, id="a clear gain passes at the end"),
        pytest.param(+0.3, False, LAST, Verdict.FAIL, id="more is a loss where lower is better"),
        pytest.param(-0.3, False, LAST, Verdict.PASS, id="less is a gain where lower is better"),
        pytest.param(-0.1, True, LAST, Verdict.INCONCLUSIVE, id="a loss near the tolerance is unclear"),
    ],
)
def test_a_comparison_reaches_its_verdict(canary_shift: float, higher: bool, levels: Levels, verdict: Verdict) -> None:
    shared = 1.0 + 0.3 * noise(60, seed=1)
    canary = shared + canary_shift + 0.1 * noise(60, seed=2)

    assert compare(canary, shared, 0.1, higher, levels).verdict is verdict


def test_blocks_that_miss_an_arm_are_dropped() -> None:
    baseline = 1.0 + 0.1 * noise(40, seed=1)
    canary = baseline + 0.2 + 0.05 * noise(40, seed=2)
    holed_canary, holed_baseline = canary.copy(), baseline.copy()
    holed_canary[:5], holed_baseline[3:9], holed_canary[20] = NAN, NAN, np.inf

    result = compare(holed_canary, holed_baseline, 0.1, True, LAST)

    kept = np.r_[9:20, 21:40]
    assert result == compare(canary[kept], baseline[kept], 0.1, True, LAST)
    assert result.blocks == 30


@pytest.mark.parametrize("known", [0, 1, 7])
def test_too_few_blocks_are_inconclusive_even_if_identical(known: int) -> None:
    values = np.where(np.arange(40) < known, 1.0, NAN)

    result = compare(values, values, 0.1, True, LAST)

    assert (result.verdict, result.blocks) == (Verdict.INCONCLUSIVE, known)


@pytest.mark.parametrize("unit", [1e-6, 1e6])
@pytest.mark.parametrize("shift", [-0.3, -0.1, -0.05, 0.0, 0.3])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_verdict_does_not_depend_on_the_unit(unit: float, shift: float, sign: float) -> None:
    baseline = sign * 1.0 + 0.3 * noise(60, seed=3)
    canary = baseline + shift + 0.05 * noise(60, seed=4)

    plain = compare(canary, baseline, 0.1, True, LAST)
    scaled = compare(canary * unit, baseline * unit, 0.1, True, LAST)

    assert scaled.verdict is plain.verdict
    assert scaled.difference == pytest.approx(plain.difference * unit)
    assert scaled.more_blocks == plain.more_blocks


def test_a_negative_baseline_whose_loss_doubles_fails() -> None:
    baseline = -1.0 + 0.2 * noise(60, seed=5)

    assert compare(2 * baseline, baseline, 0.1, True, LAST).verdict is Verdict.FAIL


def test_a_negative_baseline_whose_loss_halves_passes() -> None:
    baseline = -1.0 + 0.2 * noise(60, seed=5)

    assert compare(0.5 * baseline, baseline, 0.1, True, LAST).verdict is Verdict.PASS


def test_equal_arms_with_a_negative_mean_do_not_fail() -> None:
    verdicts = [
        compare(-1 + noise(60, seed=seed), -1 + noise(60, seed=1000 + seed), 0.1, True, LAST).verdict
        for seed in range(60)
    ]

    assert verdicts.count(Verdict.FAIL) <= 3


DEFAULT_SHARE = 0.05 / (6 * 18)
"""The rollback level of one look at one of six compared conditions in the first production stage."""


def test_equal_arms_are_hardly_ever_rolled_back() -> None:
    levels = Levels(DEFAULT_SHARE, 0.05, 8)

    failed = sum(
        compare(1 + noise(blocks, seed, 0.5), 1 + noise(blocks, 10_000 + seed, 0.5), 0.05, True, levels).verdict
        is Verdict.FAIL
        for seed, blocks in zip(range(500), [8, 12, 24, 48, 72] * 100, strict=True)
    )

    assert failed <= 5


def histograms(blocks: int, seed: int, shift: float = 0.0, count: int = 200, phi: float = 0.0) -> Array:
    """Histograms of normal z-scores in 0.1 steps, whose mean wanders from block to block."""
    dice = np.random.default_rng(seed)
    centres = shift + 0.1 * noise(blocks, seed + 77_000, phi)
    edges = np.r_[-np.inf, np.linspace(-5, 5, 101), np.inf]
    return np.array([np.histogram(dice.normal(c, 1.0, count), edges)[0] for c in centres], float)


@pytest.mark.parametrize(
    ("shift", "levels", "verdict"),
    [
        pytest.param(0.0, LAST, Verdict.PASS, id="no drift passes at the end"),
        pytest.param(0.0, EARLY, Verdict.INCONCLUSIVE, id="no drift does not pass early"),
        pytest.param(0.5, EARLY, Verdict.FAIL, id="a large drift fails early"),
        pytest.param(-0.5, LAST, Verdict.FAIL, id="a drift down fails as well"),
        pytest.param(0.15, LAST, Verdict.INCONCLUSIVE, id="a drift at the tolerance is unclear"),
    ],
)
def test_a_drift_reaches_its_verdict(shift: float, levels: Levels, verdict: Verdict) -> None:
    result = compare_histograms(histograms(48, 2, shift), histograms(48, 1), 0.1, 0.15, levels)

    assert result.verdict is verdict
    assert result.low <= result.distance <= result.high + 0.05


def test_identical_histograms_pass() -> None:
    result = compare_histograms(histograms(20, 1), histograms(20, 1), 0.1, 0.1, EARLY)

    assert (result.verdict, result.distance, result.identical) == (Verdict.PASS, 0.0, True)


def test_histograms_with_holes_are_dropped_and_too_few_are_inconclusive() -> None:
    canary, baseline = histograms(20, 1), histograms(20, 2)
    canary[:10], baseline[10:13] = NAN, 0.0

    result = compare_histograms(canary, baseline, 0.1, 0.1, LAST)

    assert (result.verdict, result.blocks) == (Verdict.INCONCLUSIVE, 7)


def test_equal_distributions_are_hardly_ever_rolled_back() -> None:
    levels = Levels(DEFAULT_SHARE, None, 8)

    failed = sum(
        compare_histograms(
            histograms(12, seed, phi=0.5), histograms(12, 20_000 + seed, phi=0.5), 0.1, 0.1, levels
        ).verdict
        is Verdict.FAIL
        for seed in range(500)
    )

    assert failed <= 5


SYMBOLS = ("BTCUSDT.x", "ETHUSDT.x")
FINGERPRINTS = {"baseline": "b" * 12, "canary": "c" * 12}
WINDOWS = 48

CONDITIONS = (
    Condition("OFI quality", "ofi_quality", "paired", "gate", "higher", tolerance_pct=20),
    Condition("Return", "strategy_return", "paired", "gate", "higher", tolerance_pct=20),
    Condition("OFI drift", "z_ofi_distribution", "distribution", "gate", "lower", tolerance_pct=50),
    Condition("Mode switches", "mode_switches", "switches", "gate", "lower", normal=8, alarm=15),
    Condition("Uptime", "uptime_pct", "limit", "gate", "higher", normal=99.9, alarm=99, unit="%"),
    Condition("Crashes", "crashes", "limit", "gate", "lower", normal=0, alarm=0),
    Condition("Update P99", "update_p99_ms", "limit", "gate", "lower", normal=100, alarm=200, unit="ms"),
    Condition("Data loss", "loss_pct", "limit", "gate", "lower", normal=0, alarm=0.1, unit="%"),
    Condition("CPU", "cpu_pct", "limit", "gate", "lower", normal=50, alarm=70, unit="%"),
    Condition("Memory", "memory_mb", "limit", "gate", "lower", normal=2048, alarm=3072, unit="MB"),
    Condition("Critical alerts", "critical_alerts", "limit", "gate", "lower", normal=0, alarm=0),
)
JUDGING = Judging(2, 8, 0.05, 0.05, 99.0, 40.0, 250, "all")
STAGE = Stage("100pct", 100, "candidate.yaml", ("*",), 1, None, WINDOWS, WINDOWS)
PLAN = Plan("p", "rehearsal", 0, 1, 50, (250, 500), JUDGING, (STAGE,), CONDITIONS)


def evidence() -> Evidence:
    """Sound evidence of two equally good arms."""
    dice = np.random.default_rng(3)
    keys = [(arm, symbol, n) for arm in FINGERPRINTS for symbol in SYMBOLS for n in range(WINDOWS)]
    size = len(keys)
    hists = histograms(size, 4, count=40)
    column: dict[str, Any] = {
        "arm": np.array([arm for arm, _, _ in keys], object),
        "symbol": np.array([symbol for _, symbol, _ in keys], object),
        "window_start_ns": np.array([T0 + n * S for _, _, n in keys]),
        "fingerprint": np.array([FINGERPRINTS[arm] for arm, _, _ in keys], object),
        "trades": np.full(size, 20),
        "lost": np.zeros(size),
        "transitions": np.zeros(size),
        "pnl_bps": 5 + dice.normal(0, 0.1, size),
        "ofi_ic_250ms_sxy": 10 + dice.normal(0, 0.2, size),
        "ofi_ic_250ms_n": np.full(size, 20.0),
        "z_ofi_hist": as_lists(hists),
    }
    ops: dict[str, Any] = {
        "scrape_ok": np.ones(6),
        "service_boot": np.array(["boot-1"] * 6, object),
        "update_p99_ms": np.full(6, 3.0),
        "cpu_s": np.arange(6) * 0.5,
        "clock_ns": T0 + np.arange(6) * 8 * S,
        "rss_mb": np.full(6, 200.0),
        "critical_alerts": np.zeros(6),
    }
    return Evidence(column, ops, SYMBOLS, FINGERPRINTS, T0, T0 + WINDOWS * S, 1)


def as_lists(hists: Array) -> NDArray[Any]:
    lists = np.empty(len(hists), object)
    lists[:] = list(hists)
    return lists


def judged(given: Evidence) -> list[Finding]:
    return judge(PLAN, STAGE, given, Look(1, 1))


def kept(given: Evidence, rows: NDArray[np.bool_]) -> Evidence:
    return replace(given, windows={name: column[rows] for name, column in given.windows.items()})


def test_sound_evidence_of_equal_arms_passes() -> None:
    findings = judged(evidence())

    assert {finding.sentence for finding in findings if finding.verdict is not Verdict.PASS} == set()
    assert overall(findings) is Verdict.PASS
    assert [finding.condition for finding in findings] == ["Data quality", *(item.name for item in CONDITIONS)]


def without_canary(given: Evidence) -> Evidence:
    return kept(given, given.windows["arm"] != "canary")


def without_baseline(given: Evidence) -> Evidence:
    return kept(given, given.windows["arm"] != "baseline")


def without_one_symbol(given: Evidence) -> Evidence:
    return kept(given, given.windows["symbol"] != SYMBOLS[0])


def with_half_the_windows(given: Evidence) -> Evidence:
    return kept(given, given.windows["window_start_ns"] < T0 + WINDOWS // 2 * S)


def with_every_second_window(given: Evidence) -> Evidence:
    return kept(given, (given.windows["window_start_ns"] // S) % 2 == 0)


def with_another_fingerprint(given: Evidence) -> Evidence:
    return replace(given, fingerprints={**FINGERPRINTS, "canary": "f" * 12})


def with_mixed_windows(given: Evidence) -> Evidence:
    stamped = given.windows["fingerprint"].copy()
    stamped[::3] = None
    return replace(given, windows={**given.windows, "fingerprint": stamped})


def with_arms_out_of_step(given: Evidence) -> Evidence:
    trades = given.windows["trades"].copy()
    trades[0] += 1
    return replace(given, windows={**given.windows, "trades": trades})


def without_ops(given: Evidence) -> Evidence:
    return replace(given, ops={})


def with_empty_ops(given: Evidence) -> Evidence:
    return replace(given, ops={name: column[:0] for name, column in given.ops.items()})


def without_rows(given: Evidence) -> Evidence:
    return kept(given, np.zeros(len(given.windows["arm"]), bool))


def without_windows(given: Evidence) -> Evidence:
    return replace(given, windows={})


def before_its_time(given: Evidence) -> Evidence:
    return replace(given, start_ns=given.end_ns, end_ns=given.end_ns + WINDOWS * S)


@pytest.mark.parametrize(
    "hurt",
    [
        without_canary, without_baseline, without_one_symbol, with_half_the_windows, with_every_second_window,
        with_another_fingerprint, with_mixed_windows, with_arms_out_of_step, without_ops, with_empty_ops,
        without_rows, without_windows, before_its_time,
    ],
)  # fmt: skip
def test_evidence_with_holes_never_passes(hurt: Callable[[Evidence], Evidence]) -> None:
    findings = judged(hurt(evidence()))

    assert overall(findings) is not Verdict.PASS
    assert len(findings) == 1 + len(CONDITIONS)


@pytest.mark.parametrize(
    "column", ["trades", "lost", "transitions", "pnl_bps", "ofi_ic_250ms_sxy", "ofi_ic_250ms_n", "z_ofi_hist"]
)
def test_a_window_column_that_is_nowhere_known_never_passes(column: str) -> None:
    given = evidence()
    size = len(given.windows["arm"])
    unknown: Any = np.full(size, NAN) if column != "z_ofi_hist" else as_lists(np.full((size, 102), NAN))

    findings = judged(replace(given, windows={**given.windows, column: unknown}))

    assert overall(findings) is not Verdict.PASS


@pytest.mark.parametrize(
    "column", ["scrape_ok", "service_boot", "update_p99_ms", "cpu_s", "clock_ns", "rss_mb", "critical_alerts"]
)
def test_an_operations_column_that_is_nowhere_known_never_passes(column: str) -> None:
    given = evidence()
    unknown: Any = np.full(6, None, object) if column == "service_boot" else np.full(6, NAN)

    findings = judged(replace(given, ops={**given.ops, column: unknown}))

    assert overall(findings) is not Verdict.PASS


def test_a_canary_that_is_worse_on_one_symbol_fails() -> None:
    given = evidence()
    worse = (given.windows["arm"] == "canary") & (given.windows["symbol"] == SYMBOLS[1])
    quality = np.where(worse, 2.0, given.windows["ofi_ic_250ms_sxy"]) + 0.01 * noise(len(worse))

    findings = judged(replace(given, windows={**given.windows, "ofi_ic_250ms_sxy": quality}))

    assert overall(findings) is Verdict.FAIL


def test_one_bad_condition_does_not_hide_the_others() -> None:
    given = evidence()
    ops = {**given.ops, "rss_mb": np.full(6, 9999.0)}
    windows = {**given.windows, "pnl_bps": np.full(len(given.windows["arm"]), NAN)}

    found = {finding.condition: finding.verdict for finding in judged(replace(given, ops=ops, windows=windows))}

    assert found["Memory"] is Verdict.FAIL
    assert found["Return"] is Verdict.INCONCLUSIVE
    assert found["OFI quality"] is Verdict.PASS


def test_nothing_is_proven_before_the_last_look() -> None:
    findings = judge(PLAN, STAGE, evidence(), Look(1, 3))

    assert overall(findings) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("weight", ["10pct", "50pct", "100pct"])
def test_the_shipped_plan_splits_its_level_over_looks_and_conditions(weight: str) -> None:
    plan = load_programme(Path(CONFIG_DIR) / "rollout.yaml", None, {}).plan

    compared = sum(condition.test != "limit" for condition in plan.conditions)
    assert compared == 6
    assert plan.judging.alpha_rollback / (compared * plan.stage(weight).slot_count) >= DEFAULT_SHARE


MEMORY = Condition("Memory", "memory_mb", "limit", "gate", "lower", normal=2048, alarm=3072, unit="MB")
UPTIME = Condition("Uptime", "uptime_pct", "limit", "gate", "higher", normal=99.9, alarm=99, unit="%")


def limit_verdict(condition: Condition, **ops: Any) -> Verdict:
    given = replace(evidence(), ops={name: np.array(values) for name, values in ops.items()})
    return judge_limit(condition, given, PairedWindows(given)).verdict


@pytest.mark.parametrize(
    ("rss_mb", "verdict"),
    [
        pytest.param([1.0, 2.0, 2048.0], Verdict.PASS, id="exactly normal"),
        pytest.param([1.0, 2.0, 2048.1], Verdict.INCONCLUSIVE, id="above normal"),
        pytest.param([1.0, 3072.0, 2.0], Verdict.INCONCLUSIVE, id="exactly the alarm"),
        pytest.param([3072.1, 1.0, 2.0], Verdict.FAIL, id="above the alarm at any time"),
        pytest.param([NAN, NAN, NAN], Verdict.INCONCLUSIVE, id="never known"),
        pytest.param([1.0, NAN, 2.0], Verdict.INCONCLUSIVE, id="known too seldom"),
        pytest.param([1.0, 2.0], Verdict.INCONCLUSIVE, id="too few readings"),
    ],
)
def test_a_figure_where_lower_is_better(rss_mb: list[float], verdict: Verdict) -> None:
    assert limit_verdict(MEMORY, rss_mb=rss_mb) is verdict


@pytest.mark.parametrize(
    ("answered", "asked", "verdict"),
    [
        pytest.param(1000, 1000, Verdict.PASS, id="always up"),
        pytest.param(999, 1000, Verdict.PASS, id="exactly normal"),
        pytest.param(998, 1000, Verdict.INCONCLUSIVE, id="below normal"),
        pytest.param(990, 1000, Verdict.INCONCLUSIVE, id="exactly the alarm"),
        pytest.param(989, 1000, Verdict.FAIL, id="below the alarm"),
        pytest.param(0, 10, Verdict.FAIL, id="never up"),
    ],
)
def test_a_figure_where_higher_is_better(answered: int, asked: int, verdict: Verdict) -> None:
    scrapes = [1.0] * answered + [0.0] * (asked - answered)

    assert limit_verdict(UPTIME, scrape_ok=scrapes) is verdict


@pytest.mark.parametrize(
    ("boots", "verdict"),
    [
        pytest.param(["a", "a", "a"], Verdict.PASS, id="one boot"),
        pytest.param(["a", None, "a"], Verdict.PASS, id="one boot, once unanswered"),
        pytest.param(["a", "a", "b"], Verdict.FAIL, id="two boots"),
        pytest.param([None, None, None], Verdict.INCONCLUSIVE, id="no boot was ever seen"),
    ],
)
def test_crashes_are_counted_by_boots(boots: list[str | None], verdict: Verdict) -> None:
    crashes = Condition("Crashes", "crashes", "limit", "gate", "lower", normal=0, alarm=0)

    assert limit_verdict(crashes, service_boot=boots) is verdict
