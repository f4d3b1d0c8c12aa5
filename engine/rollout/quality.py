"""How good a signal was in each arm, from window sums that add: merged windows give what all samples at once give.

Only windows that both arms delivered with the approved parameters count, so both are measured on the
same market. A joint histogram has z in rows and the return that followed in columns; pairs without a
sign (a z or a return of exactly zero) do not belong in it. A statistic is None where there is too little
to measure, never 0: rank IC, hit rate, AUC and trigger rate need MIN_PAIRS samples, AUC also MIN_SIDE
returns of each sign, a regression MIN_FIT spans.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from engine.clock import NS_PER_S
from engine.metrics import HIST_BINS, HIST_LOW, HIST_STEP, JOINT_BINS
from engine.rollout.evidence import Evidence, PairedWindows
from engine.rollout.slices import MODES, NO_SLICE, SESSIONS, TERCILES, session_of, volatility_terciles

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

SIGNALS = ("ofi", "cvd")

MIN_PAIRS = 100
MIN_SIDE = 10
MIN_FIT = 30
TRIGGER_Z = 2.0

SEGMENTS = 20
"""Stretches of market time that the jackknife leaves out one at a time."""
MIN_SEGMENTS = 8

CANARY = 1
UP = JOINT_BINS // 2
"""First bin above zero, on both axes of a joint histogram."""


@dataclass(frozen=True, slots=True)
class Quality:
    """One signal of one arm at one horizon; `pairs` are samples whose mid moved."""

    pairs: int
    rank_ic: float | None
    hit_rate: float | None
    auc: float | None


@dataclass(frozen=True, slots=True)
class HorizonQuality:
    """Both arms at one horizon; `gap_error` is the standard error of canary rank IC minus baseline rank IC."""

    horizon_ms: int
    baseline: Quality
    canary: Quality
    gap_error: float | None


@dataclass(frozen=True, slots=True)
class SignalQuality:
    """One signal at every horizon; `trigger_rates` are the shares of |z| > 2 as (baseline, canary)."""

    signal: str
    horizons: tuple[HorizonQuality, ...]
    trigger_rates: tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class QualitySlice:
    """The windows of one kind of market; per signal (baseline, canary) at the slice horizon."""

    kind: str
    name: str
    windows: int
    signals: dict[str, tuple[Quality, Quality]]


@dataclass(frozen=True, slots=True)
class Fit:
    """Mid return in bps regressed on OFI over the same `n` spans: slope in bps per unit of OFI."""

    n: int
    slope: float | None
    r_squared: float | None


@dataclass(frozen=True, slots=True)
class StageQuality:
    """Everything a stage's windows say of its signals; `fits` are (baseline, canary) per symbol."""

    signals: tuple[SignalQuality, ...]
    fits: dict[str, tuple[Fit, Fit]]
    slices: tuple[QualitySlice, ...]
    slice_horizon_ms: int


def measure(evidence: Evidence, horizons_ms: tuple[int, ...], slice_horizon_ms: int) -> StageQuality | None:
    """Measure every signal of a stage. None if its windows carry no joint histogram of any horizon."""
    names = [_joint_name(signal, horizon) for signal, horizon in product(SIGNALS, horizons_ms)]
    if not any(name in evidence.windows for name in names):
        return None
    sums = _PairedSums(evidence)
    return StageQuality(
        signals=tuple(_measure_signal(sums, signal, horizons_ms) for signal in SIGNALS),
        fits=_measure_fits(sums, evidence.symbols),
        slices=tuple(_measure_slices(sums, slice_horizon_ms)),
        slice_horizon_ms=slice_horizon_ms,
    )


def quality_of(joint: Array) -> Quality:
    """Statistics of a merged joint histogram, shape (12, 12)."""
    return Quality(int(joint.sum()), rank_ic(joint), hit_rate(joint), auc(joint))


def rank_ic(joint: Array) -> float | None:
    """Spearman's correlation of the binned z and the binned return, ties at their mean rank.

    Pearson's correlation of midranks (Kendall and Gibbons, Rank Correlation Methods, 5th ed. 1990, ch. 3).
    None below MIN_PAIRS, or where z or the return never leaves its bin.
    """
    n = joint.sum()
    if n < MIN_PAIRS:
        return None
    of_z, of_return = joint.sum(axis=1), joint.sum(axis=0)
    x, y = _midranks(of_z) - (n + 1) / 2, _midranks(of_return) - (n + 1) / 2
    spread = (of_z @ x**2) * (of_return @ y**2)
    return float(x @ joint @ y / math.sqrt(spread)) if spread > 0.0 else None


def _midranks(counts: Array) -> Array:
    """Mean rank, from 1, of the samples in each bin."""
    return np.asarray(np.cumsum(counts) - counts + (counts + 1) / 2)


def hit_rate(joint: Array) -> float | None:
    """Share of pairs whose return had the sign of z: P(sgn z = sgn r | z ≠ 0, r ≠ 0)."""
    n = joint.sum()
    return float((joint[UP:, UP:].sum() + joint[:UP, :UP].sum()) / n) if n >= MIN_PAIRS else None


def auc(joint: Array) -> float | None:
    """P(z before a rise > z before a fall), a tie counted half: U / (n_up n_down) of Mann and Whitney (1947).

    0.5 is no skill. None below MIN_PAIRS in all or MIN_SIDE of either sign.
    """
    up, down = joint[:, UP:].sum(axis=1), joint[:, :UP].sum(axis=1)
    if joint.sum() < MIN_PAIRS or min(up.sum(), down.sum()) < MIN_SIDE:
        return None
    return float(up @ (np.cumsum(down) - down / 2) / (up.sum() * down.sum()))


def trigger_rate(hist: Array) -> float | None:
    """Share of samples with |z| > 2, from a histogram of shape (102,); about 4.6 % of a normal z."""
    n = hist.sum()
    inner = round((TRIGGER_Z - HIST_LOW) / HIST_STEP)
    beyond = hist[inner + 1 :].sum() + hist[: HIST_BINS - 1 - inner].sum()
    return float(beyond / n) if n >= MIN_PAIRS else None


def fit_of(sums: Mapping[str, float]) -> Fit:
    """Ordinary least squares of y on x from n, sx, sy, sxx, syy, sxy: slope Sxy/Sxx and R² = Sxy²/(Sxx Syy).

    Sxx is sxx - sx²/n, and so on. What rounding leaves of a constant is not variance.
    """
    n = int(sums["n"])
    if n < MIN_FIT:
        return Fit(n, None, None)
    xx = sums["sxx"] - sums["sx"] ** 2 / n
    yy = sums["syy"] - sums["sy"] ** 2 / n
    xy = sums["sxy"] - sums["sx"] * sums["sy"] / n
    if xx <= 1e-12 * sums["sxx"]:
        return Fit(n, None, None)
    return Fit(n, xy / xx, xy**2 / (xx * yy) if yy > 1e-12 * sums["syy"] else None)


def gap_error(joints: Array) -> float | None:
    """Standard error of canary rank IC minus baseline rank IC, from joint histograms (2, segments, 12, 12).

    Delete-one-segment jackknife (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 11):
    segments are contiguous and shared by arms and symbols, so neither overlapping returns nor symbols
    that move together count as independent. None with fewer than MIN_SEGMENTS filled.
    """
    filled = joints[:, joints.sum(axis=(2, 3)).all(axis=0)]
    count = filled.shape[1]
    if count < MIN_SEGMENTS:
        return None
    total = filled.sum(axis=1)
    without = [[rank_ic(total[arm] - filled[arm, segment]) for arm in (0, 1)] for segment in range(count)]
    gaps = [canary - baseline for baseline, canary in without if baseline is not None and canary is not None]
    if len(gaps) < count:
        return None
    return math.sqrt((count - 1) * float(np.var(gaps)))


def _joint_name(signal: str, horizon_ms: int) -> str:
    return f"{signal}_joint_{horizon_ms}ms"


class _PairedSums:
    """Sums of columns over groups of paired windows; `groups` are (symbols, windows), -1 for in none."""

    def __init__(self, evidence: Evidence) -> None:
        self._table = evidence.windows
        numbered = self._table | {"row": np.arange(len(self._table["arm"]))}
        self._windows = PairedWindows(replace(evidence, windows=numbered))
        rows = self._windows.values("row")
        self.paired = np.isfinite(rows).all(axis=0)
        self._rows = np.where(self.paired, rows, -1).astype(np.int64)
        self.starts_ns = evidence.start_ns + np.arange(evidence.window_count) * (evidence.window_s * NS_PER_S)

    def numbers(self, name: str) -> Array:
        """A column, shape (2, symbols, windows); NaN in both arms where either has none."""
        values = self._windows.values(name)
        values[:, ~np.isfinite(values).all(axis=0)] = math.nan
        return values

    def canary_modes(self) -> Codes:
        """Position in MODES of the canary's mode, shape (symbols, windows)."""
        codes = np.full(self.paired.shape, NO_SLICE)
        if "mode" in self._table:
            modes = self._table["mode"][self._rows[CANARY][self.paired]]
            codes[self.paired] = [MODES.index(mode) if mode in MODES else NO_SLICE for mode in modes]
        return codes

    def lists(self, name: str, length: int, groups: Codes, count: int) -> Array:
        """Sums of a list column over windows that have it in both arms, shape (2, count, length)."""
        totals = np.zeros((2, count, length))
        if name not in self._table:
            return totals
        column = self._table[name]
        has_it = np.array([item.size == length for item in column], dtype=bool)
        whole = self.paired & has_it[self._rows[0]] & has_it[self._rows[1]]
        for arm, group in product((0, 1), range(count)):
            totals[arm, group] += column[self._rows[arm][whole & (groups == group)]].sum(axis=0)
        return totals

    def joints(self, signal: str, horizon_ms: int, groups: Codes, count: int) -> Array:
        """Joint histograms, shape (2, count, 12, 12)."""
        totals = self.lists(_joint_name(signal, horizon_ms), JOINT_BINS**2, groups, count)
        return totals.reshape(2, count, JOINT_BINS, JOINT_BINS)


def _measure_signal(sums: _PairedSums, signal: str, horizons_ms: tuple[int, ...]) -> SignalQuality:
    windows = np.arange(len(sums.starts_ns))
    count = min(SEGMENTS, len(windows))
    segments = np.broadcast_to(windows * count // max(1, len(windows)), sums.paired.shape)
    horizons = []
    for horizon_ms in horizons_ms:
        joints = sums.joints(signal, horizon_ms, segments, count)
        baseline, canary = (quality_of(joint) for joint in joints.sum(axis=1))
        horizons.append(HorizonQuality(horizon_ms, baseline, canary, gap_error(joints)))
    hists = sums.lists(f"z_{signal}_hist", HIST_BINS, np.zeros_like(segments), 1)
    return SignalQuality(signal, tuple(horizons), (trigger_rate(hists[0, 0]), trigger_rate(hists[1, 0])))


def _measure_fits(sums: _PairedSums, symbols: tuple[str, ...]) -> dict[str, tuple[Fit, Fit]]:
    """Per symbol, for OFI is in the units of its symbol and slopes differ. Empty if nothing was summed."""
    keys = ("n", "sx", "sy", "sxx", "syy", "sxy")
    totals = {key: np.nan_to_num(sums.numbers(f"ofi_fit_{key}")).sum(axis=2) for key in keys}
    if not totals["n"].any():
        return {}
    return {
        symbol: (
            fit_of({key: totals[key][0, index] for key in keys}),
            fit_of({key: totals[key][1, index] for key in keys}),
        )
        for index, symbol in enumerate(symbols)
    }


def _measure_slices(sums: _PairedSums, horizon_ms: int) -> list[QualitySlice]:
    """Both arms of a window are in the same slice; slices without windows are left out."""
    sessions = np.array([SESSIONS.index(session_of(int(start))) for start in sums.starts_ns], dtype=np.int64)
    kinds = (
        ("mode", MODES, sums.canary_modes()),
        ("session", SESSIONS, np.broadcast_to(sessions, sums.paired.shape)),
        ("volatility", TERCILES, volatility_terciles(sums.numbers("volatility_bps").mean(axis=0))),
    )
    found = []
    for kind, names, codes in kinds:
        joints = {signal: sums.joints(signal, horizon_ms, codes, len(names)) for signal in SIGNALS}
        for index, name in enumerate(names):
            windows = int((sums.paired & (codes == index)).sum())
            arms = {signal: (quality_of(of[0, index]), quality_of(of[1, index])) for signal, of in joints.items()}
            found += [QualitySlice(kind, name, windows, arms)] * (windows > 0)
    return found
