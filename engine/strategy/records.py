"""Window records: what one arm of one symbol did in one window, as sums that add."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from engine.clock import NS_PER_MS, NS_PER_S
from engine.strategy.layout import COUNTS, CVD_SIGNAL, FIT, MAX_HORIZONS, OFI_SIGNAL

SIGNALS = {"ofi": OFI_SIGNAL, "cvd": CVD_SIGNAL}


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
        if len(self.horizons_ms) > MAX_HORIZONS:
            raise ValueError(f"measurement.horizons_ms must be at most {MAX_HORIZONS}, were {len(self.horizons_ms)}")

    def window_ns(self) -> int:
        return self.window_s * NS_PER_S

    def horizon_steps(self) -> list[int]:
        """Horizons in steps of the grid."""
        return [horizon // self.grid_ms for horizon in self.horizons_ms]

    def as_array(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """What the kernels take: window_ns, grid_ns, then the horizons in grid steps."""
        return np.array([self.window_ns(), self.grid_ms * NS_PER_MS, *self.horizon_steps()], np.int64)


@dataclass(slots=True)
class WindowRecord:
    """One row: additive sufficient statistics, so that windows merge without the raw events.

    `window` and `counts` are records of dtype layout.WINDOW and layout.COUNTS. `fingerprint` is None when
    the parameters changed inside the window. The host stamps `stage`, `rollout_id` and `live`, which hold from
    the window's start.
    `volatility_bps` is the realised volatility of one-second mid returns, scaled to a minute.
    """

    symbol: str
    arm: str
    window_start_ns: int
    window_end_ns: int
    fingerprint: str | None
    mode: str
    window: np.void
    counts: np.void
    mid: float | None
    volatility_bps: float | None
    rollout_id: str | None = None
    stage: str | None = None
    live: bool = False

    def to_row(self, measurement: Measurement) -> dict[str, Any]:
        """Flatten into one row of the windows table."""
        counts = {name: int(self.counts[name]) for name in COUNTS.names or ()}
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
            "transitions": int(self.window["transitions"]),
            "active_ticks": int(self.window["active_ticks"]),
            "events": counts["trades"] + counts["quotes"] + counts["depths"],
            "mid": self.mid,
            "volatility_bps": self.volatility_bps,
        }
        row |= counts | self.paper()
        row |= {f"ofi_fit_{name}": self.window["fit"][name].item() for name in FIT.names or ()}
        for name, index in SIGNALS.items():
            row |= _signal_columns(name, self.window["signals"][index], measurement)
        return row

    def paper(self) -> dict[str, float]:
        """Paper trading results of the window, bps of the position limit."""
        window = self.window
        return {
            "pnl_bps": float(window["gross_bps"] - window["fees_bps"]),
            "gross_pnl_bps": float(window["gross_bps"]),
            "fees_bps": float(window["fees_bps"]),
            "turnover": float(window["turnover"]),
            "max_drawdown_bps": float(window["max_drawdown_bps"]),
            "orders": int(window["orders"]),
            "orders_refused": int(window["refused"]),
            "orders_capped": int(window["capped"]),
        }


def _signal_columns(name: str, sums: np.void, measurement: Measurement) -> dict[str, Any]:
    columns: dict[str, Any] = {
        f"z_{name}_n": int(sums["n"]),
        f"z_{name}_sum": float(sums["total"]),
        f"z_{name}_sum_squares": float(sums["squares"]),
        f"z_{name}_hist": sums["hist"].tolist(),
    }
    for index, horizon_ms in enumerate(measurement.horizons_ms):
        ic = sums["ic"][index]
        columns |= {f"{name}_ic_{horizon_ms}ms_{key}": ic["pairs"][key].item() for key in FIT.names or ()}
        columns[f"{name}_ic_{horizon_ms}ms_hits"] = int(ic["hits"])
        columns[f"{name}_joint_{horizon_ms}ms"] = ic["joint"].ravel().tolist()
    return columns
