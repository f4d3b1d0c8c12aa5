"""What a report shows: engine values only, no text of its own.

Nothing here depends on the wall clock or the machine, so that the same evidence
renders to the same bytes. Market times are nanoseconds since the epoch (UTC).
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.rollout.quality import StageQuality
from engine.rollout.verdict import Finding, Verdict

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """Block values of one compared metric, shape (blocks,) each, NaN where a block is missing."""

    condition: str
    metric: str
    baseline: Array
    canary: Array
    block_s: int
    tolerance_pct: float
    higher_is_better: bool


@dataclass(frozen=True)
class Distribution:
    """Counts of z-scores per bin, both arms: 100 bins of 0.1 from -5 to 5 and one outside on each side."""

    signal: str
    baseline: Array
    canary: Array


@dataclass(frozen=True)
class ModeTrack:
    """Share of each window in which the canary arm of a symbol was active, shape (windows,)."""

    symbol: str
    active_share: Array
    transitions: int


@dataclass(frozen=True)
class StageReport:
    """One stage, as it stood at one look."""

    rollout: str
    plan: str
    kind: str
    feed: str
    is_simulated: bool
    stage: str
    weight_pct: int
    symbols: tuple[str, ...]
    all_symbol_count: int
    baseline_fingerprint: str
    canary_fingerprint: str
    params_changes: dict[str, tuple[str, str]]
    slot: int
    slot_count: int
    start_ns: int
    end_ns: int
    window_s: int
    windows: int
    verdict: Verdict
    findings: tuple[Finding, ...]
    action: str
    drill: str
    evidence_digest: str
    series: tuple[Series, ...] = ()
    distributions: tuple[Distribution, ...] = ()
    modes: tuple[ModeTrack, ...] = ()
    quality: StageQuality | None = None


@dataclass(frozen=True)
class Decision:
    """One line of the rollout's history: what was decided on a stage, and who decided."""

    stage: str
    action: str
    by: str
    comment: str
    is_automatic: bool


@dataclass(frozen=True)
class FinalReport:
    """The whole rollout: its outcome, every stage, every decision."""

    rollout: str
    plan: str
    kind: str
    feed: str
    is_simulated: bool
    outcome: str
    reason: str
    seed: int | None
    planned_stages: tuple[str, ...]
    stages: tuple[StageReport, ...]
    decisions: tuple[Decision, ...]
    refusals: tuple[str, ...] = field(default=())
