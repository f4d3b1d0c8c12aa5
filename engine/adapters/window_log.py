"""Closed windows, numbered, until somebody has collected them."""

import json
from collections import deque
from pathlib import Path
from typing import Any

from engine.strategy.records import Measurement, WindowRecord

KEPT = 200_000
"""Windows kept in memory: two and a half weeks of one symbol, five hours of five hundred."""


class WindowLog:
    """Rows with rising numbers. `after` a number means those not yet seen."""

    def __init__(self, spill: Path, measurement: Measurement) -> None:
        self._measurement = measurement
        self._spill = spill
        self._rows: deque[tuple[int, dict[str, Any]]] = deque(maxlen=KEPT)
        self._collected = 0
        self.count = 0
        if spill.exists():
            for line in spill.read_text().splitlines():
                self._append(json.loads(line))

    def add(self, record: WindowRecord) -> None:
        self._append(record.to_row(self._measurement))

    def _append(self, row: dict[str, Any]) -> None:
        self.count += 1
        self._rows.append((self.count, row))

    def after(self, number: int, limit: int) -> tuple[int, list[dict[str, Any]]]:
        """Return the last number and up to `limit` rows with a higher number than given."""
        rows = [(n, row) for n, row in self._rows if n > number][:limit]
        last = rows[-1][0] if rows else number
        self._collected = max(self._collected, number)
        return last, [row for _, row in rows]

    def write_undelivered(self) -> None:
        """Write down what nobody acknowledged, so that a restart still serves it."""
        rows = [row for n, row in self._rows if n > self._collected]
        self._spill.write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))
