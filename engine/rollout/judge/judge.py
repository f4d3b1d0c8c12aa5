"""Evidence to findings: the judge as a map over conditions.

Data quality comes first. A condition that cannot be computed is INCONCLUSIVE, and one bad
condition never hides the others.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.metrics import HIST_BINS, HIST_STEP
from engine.rollout.evidence import Evidence, PairedWindows, in_blocks
from engine.rollout.judge import sentences
from engine.rollout.judge.distribution import compare_histograms
from engine.rollout.judge.limits import judge_limit
from engine.rollout.judge.paired import Levels, PairedResult, compare
from engine.rollout.judge.statistics import poisson_bounds
from engine.rollout.plan import Condition, Plan, Stage
from engine.rollout.verdict import Finding, Verdict

Array = NDArray[np.float64]

BASELINE, CANARY = 0, 1


@dataclass(frozen=True, slots=True)
class Look:
    """Which look at a stage this is: slot 1 to `slot_count`, the last being the end."""

    slot: int
    slot_count: int

    @property
    def is_last(self) -> bool:
        return self.slot == self.slot_count


def judge(plan: Plan, stage: Stage, evidence: Evidence, look: Look) -> list[Finding]:
    """Return one finding per condition of the plan, data quality first."""
    windows = PairedWindows(evidence)
    levels = _levels(plan, look)
    by_test: dict[str, Callable[[Condition], Finding]] = {
        "paired": lambda condition: _judge_paired(condition, plan, evidence, windows, levels),
        "distribution": lambda condition: _judge_distribution(condition, plan, windows, levels),
        "switches": lambda condition: _judge_switches(condition, plan, evidence, windows, levels),
        "limit": lambda condition: judge_limit(condition, evidence, windows),
    }
    findings = [_judge_data(plan, evidence, windows)]
    findings += [by_test[condition.test](condition) for condition in plan.conditions]
    return findings


def _levels(plan: Plan, look: Look) -> Levels:
    """Split the rollback level evenly over looks and compared conditions (Bonferroni): honest, if blunt.

    The advance level is not split: every gate must pass, and only the last look can pass.
    """
    compared = sum(condition.test != "limit" for condition in plan.conditions)
    share = plan.judging.alpha_rollback / max(1, compared * look.slot_count)
    advance = plan.judging.alpha_advance if look.is_last else None
    return Levels(share, advance, plan.judging.min_blocks, plan.judging.alpha_advance)


def _judge_data(plan: Plan, evidence: Evidence, windows: PairedWindows) -> Finding:
    coverage_pct = windows.coverage() * 100
    trades = windows.values("trades")
    in_step = bool(np.array_equal(trades[BASELINE], trades[CANARY], equal_nan=True))
    enough = coverage_pct >= plan.judging.min_coverage_pct
    verdict = Verdict.PASS if enough and in_step else Verdict.INCONCLUSIVE
    sentence = sentences.data_quality(coverage_pct, plan.judging.min_coverage_pct, windows.approved.shape, in_step)
    return Finding("Data quality", "coverage_pct", "gate", verdict, sentence, value=coverage_pct, unit="%")


def _block_values(metric: str, plan: Plan, windows: PairedWindows) -> Array:
    """Block values per arm and symbol, shape (2, symbols, blocks), NaN where not defined."""
    per_block = plan.judging.block_s // plan.measurement_window_s
    if metric == "strategy_return":
        return in_blocks(windows.values("pnl_bps"), per_block)
    signal = metric.removesuffix("_quality")
    column = f"{signal}_ic_{plan.judging.quality_horizon_ms}ms"
    products = in_blocks(windows.values(f"{column}_sxy"), per_block)
    counts = in_blocks(windows.values(f"{column}_n"), per_block)
    return np.divide(products, counts, out=np.full_like(products, math.nan), where=counts > 0)


def _judge_paired(
    condition: Condition, plan: Plan, evidence: Evidence, windows: PairedWindows, levels: Levels
) -> Finding:
    assert condition.tolerance_pct is not None
    values = _block_values(condition.metric, plan, windows)
    tolerance, higher = condition.tolerance_pct / 100, condition.direction == "higher"
    symbols = len(evidence.symbols)
    half = replace(levels, rollback=levels.rollback / 2 if symbols > 1 else levels.rollback)
    pooled = compare(values[CANARY].mean(axis=0), values[BASELINE].mean(axis=0), tolerance, higher, half)
    worst = _worst_symbol(values, tolerance, higher, half, symbols) if symbols > 1 else None
    if worst is not None and pooled.verdict is not Verdict.FAIL:
        index, result = worst
        return _paired_finding(condition, plan, result, evidence.symbols[index])
    return _paired_finding(condition, plan, pooled, None)


def _worst_symbol(
    values: Array, tolerance: float, higher: bool, levels: Levels, symbols: int
) -> tuple[int, PairedResult] | None:
    """The first symbol that fails on its own at its share of the level, if any."""
    share = replace(levels, rollback=levels.rollback / symbols, advance=None)
    for index in range(symbols):
        result = compare(values[CANARY, index], values[BASELINE, index], tolerance, higher, share)
        if result.verdict is Verdict.FAIL:
            return index, result
    return None


def _paired_finding(condition: Condition, plan: Plan, result: PairedResult, symbol: str | None) -> Finding:
    return Finding(
        condition.name, condition.metric, condition.role, result.verdict,
        sentences.paired(condition, result, plan.judging.block_s, plan.judging.min_blocks, symbol),
        value=_known(result.difference), low=_known(result.low), high=_known(result.high),
        limit=_known(-result.margin if condition.direction == "higher" else result.margin),
        unit=condition.unit, symbol=symbol,
    )  # fmt: skip


def _judge_distribution(condition: Condition, plan: Plan, windows: PairedWindows, levels: Levels) -> Finding:
    assert condition.tolerance_pct is not None
    signal = condition.metric.removesuffix("_distribution").removeprefix("z_")
    per_block = plan.judging.block_s // plan.measurement_window_s
    lists = windows.lists(f"z_{signal}_hist", HIST_BINS)
    blocks = np.moveaxis(in_blocks(np.moveaxis(lists, 2, -1), per_block), -1, 2).sum(axis=1)
    result = compare_histograms(blocks[CANARY], blocks[BASELINE], HIST_STEP, condition.tolerance_pct / 100, levels)
    sentence = sentences.distribution(condition, result, plan.judging.min_blocks)
    return Finding(
        condition.name, condition.metric, condition.role, result.verdict, sentence,
        value=_known(result.distance), low=_known(result.low), high=_known(result.high),
        limit=condition.tolerance_pct / 100, unit="sd",
    )  # fmt: skip


def _judge_switches(
    condition: Condition, plan: Plan, evidence: Evidence, windows: PairedWindows, levels: Levels
) -> Finding:
    """Mode changes per symbol and day as a Poisson count; the normal range is remarked on, not tested."""
    assert condition.alarm is not None
    assert condition.normal is not None
    counts = windows.values("transitions")[CANARY]
    seen = np.isfinite(counts)
    days = float(seen.sum()) * evidence.window_s / plan.judging.day_s
    if days == 0.0:
        return Finding(condition.name, condition.metric, condition.role, Verdict.INCONCLUSIVE,
                       f"{condition.name}: no windows to count in")  # fmt: skip
    count = int(np.nansum(counts))
    proven = poisson_bounds(count, levels.rollback)[0] / days > condition.alarm
    upper = poisson_bounds(count, plan.judging.alpha_advance)[1] / days
    passes = levels.advance is not None and upper <= condition.alarm
    verdict = Verdict.FAIL if proven else Verdict.PASS if passes else Verdict.INCONCLUSIVE
    sentence = sentences.switches(condition, count, days, upper)
    return Finding(
        condition.name, condition.metric, condition.role, verdict, sentence,
        value=count / days, high=upper, limit=condition.alarm, unit="per day",
    )  # fmt: skip


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def series_for_charts(plan: Plan, evidence: Evidence) -> dict[str, tuple[Array, Array]]:
    """Pooled block values per paired metric: {metric: (baseline, canary)}, each shape (blocks,)."""
    windows = PairedWindows(evidence)
    metrics = [condition.metric for condition in plan.conditions if condition.test == "paired"]
    pooled = {metric: _block_values(metric, plan, windows).mean(axis=1) for metric in metrics}
    return {metric: (values[BASELINE], values[CANARY]) for metric, values in pooled.items()}


def histograms_for_charts(evidence: Evidence, signal: str) -> tuple[Array, Array]:
    """Pooled histogram of z per arm: (baseline, canary), each shape (102,)."""
    lists = PairedWindows(evidence).lists(f"z_{signal}_hist", HIST_BINS)
    summed = np.nansum(lists, axis=(1, 2))
    return summed[BASELINE], summed[CANARY]
