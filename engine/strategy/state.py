"""The memory of a fold: allocated once, at its largest size, before the first event."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.strategy.events import Instrument
from engine.strategy.kernels.activity import start_window
from engine.strategy.kernels.quality import SAMPLE_COLUMNS
from engine.strategy.layout import ACTIVE, BOOK_LEVELS, COUNTS, MARKET, QUIET, WINDOW
from engine.strategy.records import Measurement

EMPTY_WINDOW = np.zeros(1, WINDOW)[0]
EMPTY_COUNTS = np.zeros(1, COUNTS)[0]

Rows = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Memory:
    """Arrays that the kernels work on, indexed by symbol: layout.MARKET records, quality samples
    (symbols, grid points, columns), books (symbols, price or quantity, side, level)."""

    market: Rows
    samples: NDArray[np.float64]
    books: NDArray[np.float64]


def allocate(instruments: Sequence[Instrument], measurement: Measurement, caps: Rows, *, with_depth: bool) -> Memory:
    """Memory of `instruments`, nothing heard yet. `caps` holds one layout.CAPS record per instrument."""
    count = len(instruments)
    market = np.zeros(count, MARKET)
    market["caps"] = caps
    market["last_trade_id"] = market["last_quote_id"] = -1
    market["contract_usd"] = [item.contract_usd or 0.0 for item in instruments]
    market["lots_per_unit"] = [item.lots_per_unit for item in instruments]
    for name in ("ofi_value", "ofi_z", "cvd_z", "strength", "exported_ofi_z", "exported_cvd_z"):
        market["arms"][name] = math.nan
    market["arms"]["weights"] = 1.0
    steps = max(measurement.horizon_steps()) + 1
    return Memory(
        market=market,
        samples=np.zeros((count, steps, SAMPLE_COLUMNS)),
        books=np.zeros((count, 2, 2, BOOK_LEVELS if with_depth else 1)),
    )


def begin(record: Any, rows: Rows, measurement: Measurement, at_ns: int) -> None:
    """Start one symbol's clock at a tick; `rows` are its layout.PARAMS by arm and mode."""
    record["now_ns"] = record["begun_ns"] = at_ns
    window_ns, grid_ns = measurement.as_array()[:2].tolist()
    record["window_end_ns"] = (at_ns // window_ns + 1) * window_ns
    record["next_sample_ns"] = (at_ns // grid_ns + 1) * grid_ns
    for arm, modes in zip(record["arms"], rows, strict=True):
        pin = modes[QUIET]["pin"]
        arm["mode"] = arm["decided"] = ACTIVE if pin == ACTIVE else QUIET
        start_window(arm["activity"], at_ns, int(modes[arm["mode"]]["market_ns"]))
