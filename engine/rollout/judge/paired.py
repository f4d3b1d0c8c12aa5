"""Non-inferiority on paired blocks: canary against baseline on the same market events.

With delta the tolerance and s the sign of the baseline's mean, z = canary - baseline + delta * s * baseline
is below zero exactly when the canary is worse by more than delta of the baseline's size. Nothing is
divided, so a baseline near zero or negative is well defined, and scaling the metric changes nothing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.rollout.judge.statistics import LongRunMean, cosine_mean, inflated_mean
from engine.rollout.verdict import Verdict

Array = NDArray[np.float64]

POWER_Z = 1.645 + 0.84
"""One-sided 5 % and 80 % power."""

HOPELESS = 50
"""More than this many times the blocks seen is not a useful estimate."""

STRONG_BASELINE_T = 2.33
"""Below this many standard errors the baseline's mean is too weak to speak of percent."""


@dataclass(frozen=True, slots=True)
class PairedResult:
    """One comparison. `more_blocks` is how many more are expected to decide if the arms are equal."""

    verdict: Verdict
    canary: float
    baseline: float
    difference: float
    low: float
    high: float
    margin: float
    blocks: int
    identical: bool = False
    percent_is_defined: bool = False
    more_blocks: int | None = None
    level: float = 0.05


@dataclass(frozen=True, slots=True)
class Levels:
    """Error probabilities of one comparison at one look. `advance` is None before the stage's end;
    `interval` is that of each end of the interval that is shown."""

    rollback: float
    advance: float | None
    min_blocks: int
    interval: float = 0.05


def compare(canary: Array, baseline: Array, tolerance: float, higher_is_better: bool, levels: Levels) -> PairedResult:
    """Judge block values, shape (blocks,) each; a block with a missing arm is dropped.

    `tolerance` is a share (0.05 for 5 %).
    """
    both = np.isfinite(canary) & np.isfinite(baseline)
    c, b = canary[both], baseline[both]
    n = len(c)
    if n < levels.min_blocks:
        mean_c, mean_b = (float(c.mean()), float(b.mean())) if n else (np.nan, np.nan)
        return PairedResult(Verdict.INCONCLUSIVE, mean_c, mean_b, mean_c - mean_b, np.nan, np.nan, np.nan, n)
    mean_c, mean_b = float(c.mean()), float(b.mean())
    margin = tolerance * abs(mean_b)
    if float(np.abs(c - b).max()) <= 1e-9 * float(np.median(np.abs(b))):
        return PairedResult(Verdict.PASS, mean_c, mean_b, 0.0, 0.0, 0.0, margin, n, identical=True)
    good = 1.0 if higher_is_better else -1.0
    z = good * (c - b) + tolerance * np.sign(mean_b) * b
    interval = cosine_mean(c - b)
    half = interval.bound(levels.interval)
    verdict = _verdict(z, levels)
    return PairedResult(
        verdict, mean_c, mean_b, mean_c - mean_b, interval.mean - half, interval.mean + half, margin, n,
        percent_is_defined=abs(inflated_mean(b).t) >= STRONG_BASELINE_T,
        more_blocks=_more_blocks(inflated_mean(z), margin) if verdict is Verdict.INCONCLUSIVE else None,
        level=levels.interval,
    )  # fmt: skip


def _verdict(z: Array, levels: Levels) -> Verdict:
    if inflated_mean(z).p_below_zero() <= levels.rollback:
        return Verdict.FAIL
    if levels.advance is None:
        return Verdict.INCONCLUSIVE
    final = cosine_mean(z)
    return Verdict.PASS if final.mean - final.bound(levels.advance) > 0.0 else Verdict.INCONCLUSIVE


def _more_blocks(z: LongRunMean, margin: float) -> int | None:
    """Blocks beyond those seen until an equal canary passes with 80 % probability; None if hopeless."""
    if margin <= 0.0:
        return None
    long_run_sd = z.standard_error * np.sqrt(z.n)
    needed = int(np.ceil((POWER_Z * long_run_sd / margin) ** 2))
    return max(1, needed - z.n) if needed <= HOPELESS * z.n else None
