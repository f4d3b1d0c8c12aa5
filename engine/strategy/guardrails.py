"""Limits that the service keeps by itself while a candidate is live: a pure decision on what was read.

What cannot be read is beyond every limit. Position and orders are held to the caps.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from engine.clock import NS_PER_S
from engine.strategy.caps import Caps
from engine.strategy.layout import BASELINE_ARM, CANARY_ARM
from engine.strategy.params_parts import STRICT, require

DAY_NS = 86_400 * NS_PER_S

LEASE, STATE = "lease", "state"
LOSS, POSITION, ORDERS = "loss", "position", "orders"
FEED_AGE, LOOP_LAG, UNSOUND_OUTPUT = "feed_age", "loop_lag", "unsound_output"
CAUSES = (LEASE, LOSS, POSITION, ORDERS, FEED_AGE, LOOP_LAG, UNSOUND_OUTPUT, STATE)
"""Why the service puts the baseline back by itself: no lease, a guardrail, or nothing to rely on after a start."""


@dataclass(frozen=True, slots=True)
class GuardrailLimits:
    """What a live candidate may do before the service takes it back: none of it has a default."""

    max_loss_bps: float
    max_feed_age_s: float
    max_loop_lag_ms: float
    __pydantic_config__: ClassVar = STRICT

    def __post_init__(self) -> None:
        require(self.max_loss_bps > 0, "max_loss_bps", "> 0", self.max_loss_bps)
        require(self.max_feed_age_s > 0, "max_feed_age_s", "> 0", self.max_feed_age_s)
        require(self.max_loop_lag_ms > 0, "max_loop_lag_ms", "> 0", self.max_loop_lag_ms)


@dataclass(frozen=True, slots=True)
class LiveArm:
    """A canary arm that is live. `earned_bps` is beyond the baseline's, since it went live or since midnight UTC
    if that is later; `orders` are those of the last minute.

    `strength` may be NaN, a signal that is not known.
    """

    symbol: str
    earned_bps: float
    position_usd: float
    orders: int
    strength: float


@dataclass(frozen=True, slots=True)
class Readings:
    """What the guard loop read. `unsound_outputs` counts since something went live."""

    arms: tuple[LiveArm, ...]
    feed_age_s: float
    loop_lag_ms: float
    unsound_outputs: int


@dataclass(frozen=True, slots=True)
class Breach:
    """A limit that does not hold any more."""

    cause: str
    reason: str


def breach(readings: Readings, limits: GuardrailLimits, caps: Caps) -> Breach | None:
    """Return the first limit that is broken, None while all hold. Exactly at a limit it holds; NaN never does."""
    return next(_breaches(readings, limits, caps), None)


def _breaches(readings: Readings, limits: GuardrailLimits, caps: Caps) -> Iterator[Breach]:
    if not readings.unsound_outputs <= 0:
        yield Breach(UNSOUND_OUTPUT, "a window held a sum that is no number")
    for arm in readings.arms:
        yield from _arm_breaches(arm, limits, caps)
    if not readings.feed_age_s <= limits.max_feed_age_s:
        said = f"no event of any symbol for {readings.feed_age_s:.1f} s, the limit is {limits.max_feed_age_s:g} s"
        yield Breach(FEED_AGE, said)
    if not readings.loop_lag_ms <= limits.max_loop_lag_ms:
        said = f"the guard loop woke {readings.loop_lag_ms:.0f} ms late, the limit is {limits.max_loop_lag_ms:g} ms"
        yield Breach(LOOP_LAG, said)


def _arm_breaches(arm: LiveArm, limits: GuardrailLimits, caps: Caps) -> Iterator[Breach]:
    name, most_usd, most_orders = arm.symbol, caps.positions.max_usd, caps.orders.max_per_min
    if not (math.isfinite(arm.earned_bps) and math.isfinite(arm.position_usd)) or math.isinf(arm.strength):
        said = f"{arm.earned_bps} bps earned, {arm.position_usd} USD held, a signal of {arm.strength}"
        yield Breach(UNSOUND_OUTPUT, f"{name} does not make numbers: {said}")
    if not abs(arm.position_usd) <= most_usd:
        yield Breach(POSITION, f"{name} holds {arm.position_usd:,.0f} USD, the cap is {most_usd:,.0f} USD")
    if not arm.orders <= most_orders:
        yield Breach(ORDERS, f"{name} sent {arm.orders} orders within a minute, the cap is {most_orders}")
    if not -arm.earned_bps <= limits.max_loss_bps:
        lost, limit = f"{-arm.earned_bps:.1f} bps", f"{limits.max_loss_bps:g} bps"
        yield Breach(LOSS, f"{name} lost {lost} more than the baseline today, the limit is {limit}")


class LiveCanaries:
    """Which canary arms are live, and how far each led its baseline when counting began: then, or at midnight UTC."""

    def __init__(self, count: int) -> None:
        self._is_live = np.zeros(count, dtype=bool)
        self._lead_before = np.zeros(count)
        self._day = 0

    def put(self, is_live: NDArray[np.bool_], market: NDArray[Any], clock_ns: int) -> None:
        """Note which are live from now on; `market` holds one layout.MARKET record per symbol."""
        if not self._is_live.any():
            self._day = clock_ns // DAY_NS
        self._lead_before = np.where(self._is_live, self._lead_before, _lead(market))
        self._is_live = is_live

    def read(
        self, symbols: Sequence[str], market: NDArray[Any], table: NDArray[Any], clock_ns: int
    ) -> tuple[LiveArm, ...]:
        """Read the live arms. `table` holds layout.PARAMS by symbol, arm and mode; `clock_ns` is market time."""
        if clock_ns // DAY_NS != self._day:
            self._day = clock_ns // DAY_NS
            self._lead_before = _lead(market)
        places = self._is_live.nonzero()[0]
        arms = market["arms"][:, CANARY_ARM]
        modes = arms["mode"][places]
        limit, allocation_usd = (
            table[name][places, CANARY_ARM, modes] for name in ("position_limit", "allocation_usd")
        )
        since_ns = np.maximum(0, market["now_ns"][places] - 60 * NS_PER_S)
        columns = (
            (_lead(market) - self._lead_before)[places],
            arms["position"][places] * limit * allocation_usd,
            (arms["orders_ns"][places] > since_ns[:, np.newaxis]).sum(axis=1),
            arms["strength"][places],
        )
        rows = zip(places.tolist(), *(column.tolist() for column in columns), strict=True)
        return tuple(LiveArm(symbols[i], *values) for i, *values in rows)


def _lead(market: NDArray[Any]) -> NDArray[np.float64]:
    """What each symbol's canary has earned beyond its baseline on the same market, bps; shape (n_symbols,).

    Fees and the market's moves hit both: what is left is the candidate's doing.
    """
    equity = market["arms"]["equity_bps"]
    return np.asarray(equity[:, CANARY_ARM] - equity[:, BASELINE_ARM])
