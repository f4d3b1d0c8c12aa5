"""Operational figures against their normal and alarm values. Accounting, not inference.

What the machine measured (CPU, memory, latency) is stated against a ladder of half the
normal value, the normal value and the alarm, so that the same evidence on another run of
the same market reads the same; the exact figures are in the operations table.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engine.rollout.evidence import Evidence, PairedWindows
from engine.rollout.plan import Condition
from engine.rollout.verdict import Finding, Verdict

Array = NDArray[np.float64]

MIN_SCRAPES = 3

Measure = Callable[[Evidence, PairedWindows], float]


def _uptime_pct(evidence: Evidence, _: PairedWindows) -> float:
    answered = evidence.ops_column("scrape_ok")
    return float(answered.mean() * 100) if len(answered) >= MIN_SCRAPES else math.nan


def _crashes(evidence: Evidence, _: PairedWindows) -> float:
    boots = evidence.ops.get("service_boot")
    if boots is None or len(boots) < MIN_SCRAPES:
        return math.nan
    known = {str(boot) for boot in boots if boot is not None}
    return float(len(known) - 1) if known else math.nan


def _update_p99_ms(evidence: Evidence, _: PairedWindows) -> float:
    return _last(evidence.ops_column("update_p99_ms"))


def _loss_pct(_: Evidence, windows: PairedWindows) -> float:
    lost, trades = windows.values("lost")[0], windows.values("trades")[0]
    known = np.isfinite(lost) & np.isfinite(trades)
    total = float(trades[known].sum() + lost[known].sum())
    return float(lost[known].sum()) / total * 100 if total else math.nan


def _cpu_pct(evidence: Evidence, _: PairedWindows) -> float:
    """CPU seconds per second of market time, so that a fast replay is charged what live would cost."""
    cpu_s, clock_ns = evidence.ops_column("cpu_s"), evidence.ops_column("clock_ns")
    known = np.isfinite(cpu_s) & np.isfinite(clock_ns)
    if known.sum() < MIN_SCRAPES:
        return math.nan
    market_s = (clock_ns[known][-1] - clock_ns[known][0]) / 1e9
    return float((cpu_s[known][-1] - cpu_s[known][0]) / market_s * 100) if market_s > 0 else math.nan


def _memory_mb(evidence: Evidence, _: PairedWindows) -> float:
    rss = evidence.ops_column("rss_mb")
    rss = rss[np.isfinite(rss)]
    return float(rss.max()) if len(rss) >= MIN_SCRAPES else math.nan


def _critical_alerts(evidence: Evidence, _: PairedWindows) -> float:
    return _last(evidence.ops_column("critical_alerts"))


def _last(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) >= MIN_SCRAPES else math.nan


MEASURES: dict[str, Measure] = {
    "uptime_pct": _uptime_pct,
    "crashes": _crashes,
    "update_p99_ms": _update_p99_ms,
    "loss_pct": _loss_pct,
    "cpu_pct": _cpu_pct,
    "memory_mb": _memory_mb,
    "critical_alerts": _critical_alerts,
}

MACHINE_METRICS = frozenset({"update_p99_ms", "cpu_pct", "memory_mb"})


def judge_limit(condition: Condition, evidence: Evidence, windows: PairedWindows) -> Finding:
    """Hold one figure against its limits; what could not be measured is INCONCLUSIVE."""
    value = MEASURES[condition.metric](evidence, windows)
    assert condition.normal is not None
    assert condition.alarm is not None
    if not math.isfinite(value):
        sentence = f"{condition.name}: not measured; at least {MIN_SCRAPES} readings are needed"
        return _finding(condition, Verdict.INCONCLUSIVE, sentence, None)
    verdict = _verdict(value, condition.normal, condition.alarm, higher=condition.direction == "higher")
    shown, prefix = _shown(value, condition)
    sentence = f"{condition.name}: {prefix}{_number(shown)}{_unit(condition)} ({_limits(condition)})"
    return _finding(condition, verdict, sentence, shown)


def _verdict(value: float, normal: float, alarm: float, *, higher: bool) -> Verdict:
    """Within normal passes, beyond the alarm fails, between holds. NaN never gets here."""
    if higher:
        if value >= normal:
            return Verdict.PASS
        return Verdict.INCONCLUSIVE if value >= alarm else Verdict.FAIL
    if value <= normal:
        return Verdict.PASS
    return Verdict.INCONCLUSIVE if value <= alarm else Verdict.FAIL


def _shown(value: float, condition: Condition) -> tuple[float, str]:
    if condition.metric not in MACHINE_METRICS:
        return value, ""
    assert condition.normal is not None
    assert condition.alarm is not None
    for step in (condition.normal / 2, condition.normal, condition.alarm):
        if value <= step:
            return step, "at most "
    return value, ""


def _limits(condition: Condition) -> str:
    sign, beyond = ("≥", "<") if condition.direction == "higher" else ("≤", ">")
    unit = _unit(condition)
    assert condition.normal is not None
    assert condition.alarm is not None
    return f"normal {sign} {_number(condition.normal)}{unit}, alarm {beyond} {_number(condition.alarm)}{unit}"


def _unit(condition: Condition) -> str:
    return f" {condition.unit}" if condition.unit else ""


def _number(value: float) -> str:
    return f"{value:.4g}"


def _finding(condition: Condition, verdict: Verdict, sentence: str, value: float | None) -> Finding:
    return Finding(
        condition.name, condition.metric, condition.role, verdict, sentence,
        value=value, limit=condition.alarm, unit=condition.unit,
    )  # fmt: skip
