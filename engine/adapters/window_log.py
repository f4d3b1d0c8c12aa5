"""Closed windows, numbered, until somebody has collected them."""

import json
import zlib
from collections import deque
from pathlib import Path

from engine.strategy.records import Measurement, WindowRecord

KEPT = 100_000
"""Windows kept in memory, about a kilobyte each: five weeks of one symbol, an hour and a half of five hundred."""


class WindowLog:
    """Rows as JSON texts with rising numbers. `after` a number means those not yet seen.

    `overwritten` counts rows that nobody had collected when newer ones took their place.
    """

    def __init__(self, spill: Path, measurement: Measurement) -> None:
        self._measurement = measurement
        self._spill = spill
        self._rows: deque[tuple[int, bytes]] = deque(maxlen=KEPT)
        self._collected = 0
        self.count = 0
        self.overwritten = 0
        if spill.exists():
            for line in spill.read_text().splitlines():
                self._append(line)

    def add(self, record: WindowRecord) -> None:
        """Log one closed window. Raises ValueError if it holds a number that is not one."""
        self._append(json.dumps(record.to_row(self._measurement), sort_keys=True, allow_nan=False))

    def _append(self, line: str) -> None:
        if len(self._rows) == self._rows.maxlen and self._rows[0][0] > self._collected:
            self.overwritten += 1
        self.count += 1
        self._rows.append((self.count, zlib.compress(line.encode(), level=1)))

    def after(self, number: int, limit: int) -> tuple[int, list[str]]:
        """Return the last number and up to `limit` rows with a higher number than given, as JSON texts.

        Asking acknowledges what came before. A number that this log has not given yet is one of a log before
        it: it acknowledges nothing, and the answer starts from the oldest row.
        """
        if not 0 <= number <= self.count:
            number = 0
        oldest = self.count - len(self._rows)
        first = max(0, number - oldest)
        rows = [self._rows[index] for index in range(first, min(first + limit, len(self._rows)))]
        self._collected = max(self._collected, number)
        return rows[-1][0] if rows else number, [zlib.decompress(row).decode() for _, row in rows]

    def write_undelivered(self) -> None:
        """Write down what nobody acknowledged, so that a restart still serves it."""
        rows = [zlib.decompress(row).decode() for number, row in self._rows if number > self._collected]
        self._spill.write_text("".join(row + "\n" for row in rows))
