"""What a stage is judged on: window records of both arms and operations records, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.clock import NS_PER_S

ARMS = ("baseline", "canary")

Array = NDArray[np.float64]
Column = NDArray[np.generic]


@dataclass(frozen=True)
class Evidence:
    """Columns of the windows and operations tables, and the frame they are judged in.

    `start_ns <= window < end_ns` in market time; `symbols` are the stage's; `fingerprints`
    name the approved parameters per arm.
    """

    windows: dict[str, Column]
    ops: dict[str, Column]
    symbols: tuple[str, ...]
    fingerprints: dict[str, str]
    start_ns: int
    end_ns: int
    window_s: int

    @property
    def window_count(self) -> int:
        """Windows expected per symbol and arm."""
        return (self.end_ns - self.start_ns) // (self.window_s * NS_PER_S)

    def ops_column(self, name: str) -> Array:
        """An operations column as floats, NaN where missing."""
        if name not in self.ops:
            return np.empty(0)
        return self.ops[name].astype(np.float64)


class PairedWindows:
    """Windows laid out as (arm, symbol, window), NaN where one is missing or not what was approved."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._cells = self._locate()
        self.approved = self._mark_approved()

    def _locate(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Row numbers and their (arm, symbol, window) cells, for rows inside the frame."""
        evidence, table = self._evidence, self._evidence.windows
        if not table:
            nothing = np.empty(0, np.int64)
            return nothing, nothing, nothing, nothing
        start = table["window_start_ns"].astype(np.int64)
        window = (start - evidence.start_ns) // (evidence.window_s * NS_PER_S)
        arm = _index_of(table["arm"], ARMS)
        symbol = _index_of(table["symbol"], evidence.symbols)
        inside = (start >= evidence.start_ns) & (window < evidence.window_count) & (arm >= 0) & (symbol >= 0)
        rows = np.flatnonzero(inside)
        return rows, arm[rows], symbol[rows], window[rows]

    def _mark_approved(self) -> NDArray[np.bool_]:
        rows, arm, symbol, window = self._cells
        approved = np.zeros((len(ARMS), len(self._evidence.symbols), self._evidence.window_count), dtype=bool)
        if not len(rows):
            return approved
        stamped = self._evidence.windows["fingerprint"][rows]
        wanted = np.array([self._evidence.fingerprints[name] for name in ARMS], dtype=object)
        approved[arm, symbol, window] = stamped == wanted[arm]
        return approved

    def values(self, name: str) -> Array:
        """A column, shape (2, symbols, windows); NaN unless both arms have the approved window."""
        rows, arm, symbol, window = self._cells
        laid_out = np.full(self.approved.shape, np.nan)
        if name not in self._evidence.windows:
            return laid_out
        laid_out[arm, symbol, window] = self._evidence.windows[name][rows].astype(np.float64)
        laid_out[:, ~self.approved.all(axis=0)] = np.nan
        return laid_out

    def lists(self, name: str, length: int) -> Array:
        """A list column, shape (2, symbols, windows, length); NaN where `values` is."""
        rows, arm, symbol, window = self._cells
        laid_out = np.full((*self.approved.shape, length), np.nan)
        if len(rows):
            laid_out[arm, symbol, window] = np.stack([np.asarray(item) for item in self._evidence.windows[name][rows]])
        laid_out[:, ~self.approved.all(axis=0)] = np.nan
        return laid_out

    def coverage(self) -> float:
        """Share of expected windows that both arms delivered with the approved parameters."""
        return float(self.approved.all(axis=0).mean()) if self.approved.size else 0.0


def _index_of(column: Column, names: Sequence[str]) -> NDArray[np.int64]:
    """Position of each value in `names`, -1 where it is not one of them."""
    positions = {name: position for position, name in enumerate(names)}
    return np.array([positions.get(str(value), -1) for value in column], dtype=np.int64)


def in_blocks(values: Array, windows_per_block: int) -> Array:
    """Sum the window axis in blocks, shape (..., blocks); a block with a missing window is NaN."""
    blocks = values.shape[-1] // windows_per_block
    kept = values[..., : blocks * windows_per_block]
    return np.asarray(kept.reshape(*values.shape[:-1], blocks, windows_per_block).sum(axis=-1))
