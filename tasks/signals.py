"""Every signal of a recorded market, one row per symbol and bucket, in a Parquet file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.adapters.feeds import Feed
from engine.clock import NS_PER_S
from engine.errors import InputError
from engine.strategy.caps import Caps
from engine.strategy.events import Slice
from engine.strategy.fold import ARMS, BASELINE
from engine.strategy.host import Host
from engine.strategy.layout import SIGNAL_RING
from engine.strategy.mode import MODES
from engine.strategy.params import StrategyParams
from engine.strategy.records import Measurement

MEASUREMENT = Measurement(window_s=60, grid_ms=1000, horizons_ms=(1000,))
"""Windows are not asked for here, but a fold has some."""

SCHEMA = pa.schema(
    [
        ("exchange", pa.string()), ("symbol", pa.string()), ("bucket_end_ns", pa.int64()), ("ofi_l1", pa.float64()),
        ("ofi_ml", pa.float64()), ("cvd", pa.float64()), ("z_ofi", pa.float64()), ("z_cvd", pa.float64()),
        ("mid", pa.float64()), ("mode", pa.string()), ("gaps", pa.int64()),
    ]
)  # fmt: skip
"""Flow and cvd in base units (contracts on coin-margined markets): flow of the bucket alone, cvd since the start.
`gaps` counts the bucket's. What is not known is null."""


def write_signals(
    feed: Feed, params: StrategyParams, caps: Caps, out: Path, progress: Callable[[float], None] = lambda share: None
) -> int:
    """Fold the whole feed under `params` and write `out`; return the number of rows.

    Raises InputError if `out` cannot be written. A file that was begun is removed if anything fails.
    """
    host = Host(feed.instruments(), MEASUREMENT, params, caps, with_depth=True)
    part = out.with_name(out.name + ".part")
    rows = 0
    try:
        with pq.ParquetWriter(part, SCHEMA, compression="zstd", write_page_checksum=True) as writer:
            reader = SignalReader(host)
            for piece in _with_tail(feed, params):
                host.consume(piece)
                table = reader.take()
                rows += table.num_rows
                if table.num_rows:
                    writer.write_table(table)
                progress((piece.clock_ns - feed.start_ns) / max(1, feed.end_ns - feed.start_ns))
        part.replace(out)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written ({error.strerror or error})") from error
    finally:
        part.unlink(missing_ok=True)
    return rows


def _with_tail(feed: Feed, params: StrategyParams) -> Any:
    """The feed in slices of ten seconds at most, then silence until the last bucket's watermark has passed."""
    bucket_ms = max(mode.ofi.bucket_ms for mode in (params.active, params.quiet))
    step_s = min(10_000, SIGNAL_RING // 2 * min(mode.ofi.bucket_ms for mode in (params.active, params.quiet))) // 1000
    end_ns = feed.start_ns
    for piece in feed.slices(step_s * NS_PER_S):
        end_ns = piece.clock_ns
        yield piece
    wait_ms = bucket_ms + max(mode.ofi.watermark_ms for mode in (params.active, params.quiet))
    yield Slice(end_ns, end_ns + -(-wait_ms // 1000) * NS_PER_S, {})


class SignalReader:
    """Takes the signals an arm has published since the last time."""

    def __init__(self, host: Host, arm: str = BASELINE) -> None:
        self._host = host
        self._arm = ARMS[arm]
        self._taken = [0] * len(host.symbols)
        self._gaps = [0] * len(host.symbols)

    def take(self) -> pa.Table:
        """Rows of all symbols since the last call, by symbol. At most SIGNAL_RING buckets may lie between two calls."""
        tables = []
        for i, instrument in enumerate(self._host.instruments):
            arm = self._host.folding.memory.market[i]["arms"][self._arm]
            count = int(arm["signal_count"])
            rows = arm["published"][np.arange(self._taken[i], count) % SIGNAL_RING]
            self._taken[i] = count
            if len(rows):
                tables.append(
                    _table(rows, instrument.ticker, instrument.venue, instrument.lots_per_unit, self._gaps[i])
                )
                self._gaps[i] = int(rows["gaps"][-1])
        return pa.concat_tables(tables) if tables else SCHEMA.empty_table()


def _table(rows: Any, ticker: str, venue: str, lots_per_unit: float, gaps_before: int) -> pa.Table:
    def measured(name: str) -> pa.Array:
        return pa.array(rows[name], mask=np.isnan(rows[name]))

    modes = np.array([mode.value for mode in MODES])
    columns = [
        pa.array([venue] * len(rows)), pa.array([ticker] * len(rows)), pa.array(rows["bucket_end_ns"]),
        measured("ofi_best"), measured("ofi_multi"), pa.array(rows["lots"] / lots_per_unit), measured("z_ofi"),
        measured("z_cvd"), measured("mid"), pa.array(modes[rows["mode"]]),
        pa.array(np.diff(rows["gaps"], prepend=gaps_before)),
    ]  # fmt: skip
    return pa.table(columns, schema=SCHEMA)
