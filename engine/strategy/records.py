"""Window records: what one arm of one symbol did in one window, as sums that add."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from engine.clock import NS_PER_MS, NS_PER_S
from engine.strategy.quality import SignalSums


@dataclass(frozen=True, slots=True)
class Measurement:
    """How arms are measured. It belongs to the rollout, not to a candidate: both arms share it.

    `window_s` is the length of one record, `grid_ms` the distance of quality samples,
    `horizons_ms` the returns they are compared with.
    """

    window_s: int
    grid_ms: int
    horizons_ms: tuple[int, ...]
    __pydantic_config__: ClassVar = {"extra": "forbid", "strict": True}

    def __post_init__(self) -> None:
        if self.window_s < 1:
            raise ValueError(f"measurement.window_s must be >= 1, was {self.window_s}")
        if self.grid_ms < 50 or self.grid_ms % 50:
            raise ValueError(f"measurement.grid_ms must be a multiple of 50, was {self.grid_ms}")
        if not self.horizons_ms or any(h <= 0 or h % self.grid_ms for h in self.horizons_ms):
            raise ValueError(f"measurement.horizons_ms must be multiples of grid_ms, were {list(self.horizons_ms)}")

    def window_ns(self) -> int:
        return self.window_s * NS_PER_S

    def horizons_ns(self) -> tuple[int, ...]:
        return tuple(horizon * NS_PER_MS for horizon in self.horizons_ms)


@dataclass(slots=True)
class Counts:
    """Events of one symbol in one window. `lost` are missing trade ids, `refused` unusable events."""

    trades: int = 0
    quotes: int = 0
    gaps: int = 0
    lost: int = 0
    late: int = 0
    crossed: int = 0
    duplicates: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class WindowRecord:
    """One row: additive sufficient statistics, so that windows merge without the raw events.

    `fingerprint` is None when the parameters changed inside the window.
    `stage`, `rollout_id` and `live` are stamped by the service at the window's start.
    """

    symbol: str
    arm: str
    window_start_ns: int
    window_end_ns: int
    fingerprint: str | None
    mode: str
    transitions: int
    active_ticks: int
    counts: Counts
    signals: dict[str, SignalSums]
    paper: dict[str, float]
    mid: float | None
    rollout_id: str | None = None
    stage: str | None = None
    live: bool = False

    def to_row(self, measurement: Measurement) -> dict[str, Any]:
        """Flatten into one row of the windows table."""
        row: dict[str, Any] = {
            "rollout_id": self.rollout_id,
            "stage": self.stage,
            "symbol": self.symbol,
            "arm": self.arm,
            "live": self.live,
            "fingerprint": self.fingerprint,
            "window_start_ns": self.window_start_ns,
            "window_end_ns": self.window_end_ns,
            "mode": self.mode,
            "transitions": self.transitions,
            "active_ticks": self.active_ticks,
            "events": self.counts.trades + self.counts.quotes,
            "mid": self.mid,
        }
        row |= asdict(self.counts) | self.paper
        for name, sums in self.signals.items():
            row |= _signal_columns(name, sums, measurement)
        return row


def _signal_columns(name: str, sums: SignalSums, measurement: Measurement) -> dict[str, Any]:
    columns: dict[str, Any] = {
        f"z_{name}_n": sums.n,
        f"z_{name}_sum": sums.total,
        f"z_{name}_sum_squares": sums.squares,
        f"z_{name}_hist": sums.hist,
    }
    for horizon_ms, ic in zip(measurement.horizons_ms, sums.ic, strict=True):
        for key in ("n", "sx", "sy", "sxx", "syy", "sxy", "hits"):
            columns[f"{name}_ic_{horizon_ms}ms_{key}"] = getattr(ic, key)
    return columns
