"""What the guardian looks for each second: reasons to put the baseline back that need no statistics."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import ServiceError
from engine.rollout.plan import Plan
from engine.rollout.state import PROMOTED, RolloutState, StageState

HANG_S = 3.0
"""Without an answer, or without progress of its market, the service hangs."""


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at the service. `status` is None where it did not answer.

    `silent_s` counts since its last answer, `stuck_s` since its slowest symbol last moved while it had to.
    """

    is_alive: bool
    status: dict[str, Any] | None
    silent_s: float
    stuck_s: float


_STATUS = ("live", "stable", "boot", "epoch", "latch", "horizon_ns", "end_ns", "killed")
_HEALTH = ("update_p99_ms", "rss_mb", "alerts", "slowest_symbol_ns")


def require_complete(status: dict[str, Any]) -> dict[str, Any]:
    """Return the status. Raises ServiceError if something is missing: half an answer is none."""
    missing = [name for name in _STATUS if name not in status]
    missing += [f"health.{name}" for name in _HEALTH if name not in status.get("health", {})]
    if missing:
        raise ServiceError(f"the service does not say {', '.join(missing)}")
    return status


def back_condition(plan: Plan, baseline: str, state: RolloutState, sight: Sight) -> str | None:
    """Return the sentence of the first back condition that holds on a deployed stage, None if there is none."""
    stage = state.deployed
    if stage is None or state.is_aborted or state.outcome == PROMOTED:
        return None
    return next(_reasons(plan, baseline, state, stage, sight), None)


def _reasons(plan: Plan, baseline: str, state: RolloutState, stage: StageState, sight: Sight) -> Iterator[str]:
    status = sight.status
    if stage.crashes > limit_of(plan, "crashes", 0):
        yield f"the service crashed {stage.crashes} time(s) in stage {stage.name}"
    if status is None:
        if sight.is_alive and sight.silent_s > HANG_S:
            yield f"the service has not answered for {sight.silent_s:.1f} s"
        return
    if status["latch"] is not None:
        yield f"the service put the baseline back by itself: {status['latch']['reason']}"
    if status["boot"] == stage.boot:
        for symbol, found, wanted in differences(status["live"], baseline, state.desired(), stage.fingerprint):
            yield f"{symbol} runs {found} and should run {wanted}, and nobody ordered that"
    if sight.stuck_s > HANG_S:
        yield f"the market of the service has not moved for {sight.stuck_s:.1f} s"
    yield from _over_limits(plan, stage, status["health"])


def differences(
    live: Mapping[str, str], baseline: str, candidates: Sequence[str], fingerprint: str | None
) -> list[tuple[str, str | None, str | None]]:
    """What runs, read from the signal path, against what should: symbol, what it runs, what it should run."""
    wanted = dict.fromkeys(live, baseline) | dict.fromkeys(candidates, fingerprint)
    return [
        (symbol, live.get(symbol), wanted[symbol]) for symbol in sorted(wanted) if live.get(symbol) != wanted[symbol]
    ]


def _over_limits(plan: Plan, stage: StageState, health: dict[str, Any]) -> Iterator[str]:
    readings = {
        "update_p99_ms": health["update_p99_ms"],
        "memory_mb": health["rss_mb"],
        "critical_alerts": sum(health["alerts"].values()) - stage.alerts_before,
    }
    for metric, reading in readings.items():
        limit = limit_of(plan, metric, math.inf)
        if reading is not None and not reading <= limit:
            yield f"{metric} is {reading:g}, the limit is {limit:g}"


def limit_of(plan: Plan, metric: str, default: float) -> float:
    """The alarm value of an operational condition, `default` if the plan has no such condition."""
    found = next((condition.alarm for condition in plan.conditions if condition.metric == metric), None)
    return default if found is None else found
