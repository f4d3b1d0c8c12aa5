"""Compile every kernel, or load it from the cache: `python -m engine.strategy.warm`.

A start must not pay for compiling, and the first change of parameters must not either. The service
calls `warm_up` before it opens its doors; setting up an installation calls it once.
"""

import numpy as np

from engine.strategy.checks import MODULES
from engine.strategy.events import BookTop, EventBatch, Instrument, Slice, Trade
from engine.strategy.fold import Fold
from engine.strategy.kernels import activity, paper
from engine.strategy.kernels import fold as kernels
from engine.strategy.kernels.compile import forget_others
from engine.strategy.layout import ACTIVE, CAPS, MANUAL, PARAMS
from engine.strategy.records import Measurement
from engine.strategy.table import Snapshot

SECOND = 1_000_000_000


def warm_up() -> None:
    """Call every kernel that is called from Python once, on a symbol of its own."""
    table = np.zeros((1, 2, 2), PARAMS)
    for name in ("market_ns", "bucket_ns", "window_ns"):
        table[name] = SECOND
    table.setflags(write=False)
    versions = np.zeros(2, np.int64)
    versions.setflags(write=False)
    snapshot = Snapshot(0, table, versions, ("", ""), ())  # type: ignore[arg-type]
    folding = Fold([Instrument("WARM.up")], Measurement(1, 1000, (1000,)), snapshot, np.zeros(1, CAPS))
    events = EventBatch.of([BookTop(1, 99.0, 1.0, 101.0, 1.0), Trade(1, 100.0, 1.0, 1)])
    folding.begin(0)
    folding.fold(0, events, 0)
    folding.settle()
    for module in MODULES:
        module.check(table.reshape(-1))
    paper.halt(folding.memory.market, 0, snapshot.rows)
    kernels.switch_mode(folding.memory.market, 0, snapshot.rows, 0, ACTIVE, MANUAL)
    activity.close_window(folding.memory.market, 0, 0, SECOND, np.zeros(5))
    activity.per_minute_bps(0.0, 0)
    folding.consume(Slice(0, SECOND // 2, {}))


if __name__ == "__main__":
    forget_others()
    warm_up()
