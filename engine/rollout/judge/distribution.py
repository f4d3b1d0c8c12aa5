"""Whether a z-score has kept its distribution: 1-Wasserstein distance in baseline standard deviations.

A mean shift of d standard deviations is a distance of d. Two bounds, each on its safe side:

- fail: a witness (a function with slope at most 1) learnt on earlier blocks is applied to the next.
  Its mean difference never exceeds the distance, so a mean above the tolerance proves a drift.
- pass: the upper percentile of a paired block bootstrap lies below the tolerance.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.rollout.judge.paired import Levels
from engine.rollout.judge.statistics import inflated_mean, resampled_blocks, wasserstein
from engine.rollout.verdict import Verdict

Array = NDArray[np.float64]

FIRST_WITNESS = 4
DRAWS = 400
BOOTSTRAP_SEED = 20140101
"""Fixed, so that the same evidence gives the same verdict."""


@dataclass(frozen=True, slots=True)
class DriftResult:
    """Distance over sd with its bootstrap interval (95 %)."""

    verdict: Verdict
    distance: float
    low: float
    high: float
    blocks: int
    identical: bool = False


def compare_histograms(canary: Array, baseline: Array, step: float, tolerance: float, levels: Levels) -> DriftResult:
    """Judge histograms per block, shape (blocks, bins) each; blocks that miss an arm are dropped."""
    whole = np.isfinite(canary).all(axis=1) & np.isfinite(baseline).all(axis=1)
    filled = whole & (canary.sum(axis=1) > 0) & (baseline.sum(axis=1) > 0)
    c, b = canary[filled], baseline[filled]
    n = len(c)
    if n < levels.min_blocks:
        return DriftResult(Verdict.INCONCLUSIVE, np.nan, np.nan, np.nan, n)
    if np.array_equal(c, b):
        return DriftResult(Verdict.PASS, 0.0, 0.0, 0.0, n, identical=True)
    sd = _sd(b.sum(axis=0), step)
    distance = wasserstein(c.sum(axis=0), b.sum(axis=0), step) / sd
    low, high = _bootstrap(c, b, step, sd)
    verdict = Verdict.INCONCLUSIVE
    if _drift_is_proven(c, b, step, tolerance, levels.rollback):
        verdict = Verdict.FAIL
    elif levels.advance is not None and high < tolerance:
        verdict = Verdict.PASS
    return DriftResult(verdict, distance, low, high, n)


def _sd(hist: Array, step: float) -> float:
    centres = np.arange(len(hist)) * step
    share = hist / hist.sum()
    mean = float(share @ centres)
    return float(np.sqrt(share @ (centres - mean) ** 2)) or step


def _bootstrap(c: Array, b: Array, step: float, sd: float) -> tuple[float, float]:
    length = max(1, round(len(c) ** (1.0 / 3.0)))
    counts = resampled_blocks(len(c), length, DRAWS, BOOTSTRAP_SEED)
    drawn_c, drawn_b = counts @ c, counts @ b
    gaps = np.cumsum(
        drawn_c / drawn_c.sum(axis=1, keepdims=True) - drawn_b / drawn_b.sum(axis=1, keepdims=True), axis=1
    )
    distances = np.abs(gaps).sum(axis=1) * step / sd
    return float(np.quantile(distances, 0.025)), float(np.quantile(distances, 0.975))


def _drift_is_proven(c: Array, b: Array, step: float, tolerance: float, alpha: float) -> bool:
    excess = []
    for k in range(FIRST_WITNESS, len(c)):
        past_c, past_b = c[:k].sum(axis=0), b[:k].sum(axis=0)
        slope = np.sign(np.cumsum(past_b / past_b.sum() - past_c / past_c.sum()))
        witness = np.concatenate([[0.0], np.cumsum(slope[:-1])]) * step
        difference = float(c[k] @ witness / c[k].sum() - b[k] @ witness / b[k].sum())
        excess.append(tolerance * _sd(past_b, step) - difference)
    return len(excess) >= FIRST_WITNESS and inflated_mean(np.array(excess)).p_below_zero() <= alpha
