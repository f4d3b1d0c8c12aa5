"""How much of the return of its own second or ten order flow explains, and how often a z-score is large.

    python -m benchmarks.signal_quality --feed FOLDER

R2 of the regression of the change of mid on the order flow of the same span (Cont, Kukanov and Stoikov, 2014: about
65 % on US stocks), at 1 s and 10 s, best level and summed over the book's levels, and the share of |z| > 2 (4.6 % if
normal), per symbol. A formula that is not order flow explains next to nothing while its rank IC still looks fine.
Prints a table, then one JSON line.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from config.loader import CONFIG_DIR, load_caps, load_release
from engine.adapters.replay import RecordedMarket
from tasks.signals import write_signals

SET_A = Path(__file__).resolve().parents[2] / "shared" / "market" / "sets" / "A_binance_20240808_6inst"
SECOND_NS = 1_000_000_000
MIN_SPANS = 20


def explained(signals: Any, seconds: int, column: str = "ofi_l1") -> float:
    """R2 of the change of mid on the flow of the same span, one symbol's rows; spans without quotes are left out."""
    ends = signals.bucket_end_ns.to_numpy()
    heard = signals[column].notna() & signals.mid.notna() & (signals.mid.diff().ne(0) | signals.ofi_l1.ne(0)).cummax()
    span = -(-ends // (seconds * SECOND_NS))
    frame = signals.assign(span=span)[heard]
    whole = frame.groupby("span").filter(lambda rows: len(rows) == len(signals[span == rows.span.iloc[0]]))
    flow = whole.groupby("span")[column].sum()
    change = whole.groupby("span").mid.last().diff()
    moved = (change.index.to_series().diff() == 1) & (whole.groupby("span").ofi_l1.apply(lambda x: x.ne(0).any()))
    if moved.sum() < MIN_SPANS:
        return float("nan")
    return float(np.corrcoef(flow[moved], change[moved])[0, 1] ** 2)


def trigger_rate(z: Any) -> float:
    """Share of |z| > 2 among known values."""
    known = z.dropna()
    return float((known.abs() > 2).mean())


def measure(folder: Path) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "signals.parquet"
        params = load_release(CONFIG_DIR / "baseline.yaml", {}, {}).params
        write_signals(RecordedMarket(folder, with_depth=True), params, load_caps(), out)
        signals = pq.read_table(out).to_pandas()
    return {
        f"{symbol}.{exchange}": {
            "r2_1s": explained(rows, 1), "r2_10s": explained(rows, 10),
            "r2_1s_multi": explained(rows, 1, "ofi_ml"), "r2_10s_multi": explained(rows, 10, "ofi_ml"),
            "p_z_ofi": trigger_rate(rows.z_ofi), "p_z_cvd": trigger_rate(rows.z_cvd),
        }
        for (exchange, symbol), rows in signals.groupby(["exchange", "symbol"])
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--feed", type=Path, default=SET_A)
    folder = parser.parse_args().feed
    if not folder.is_dir():
        print(json.dumps({"skipped": f"no recorded market at {folder}"}))
        return 0
    found = measure(folder)
    names = list(next(iter(found.values())))
    print(f"{'symbol':28}" + "".join(f"{name:>14}" for name in names))
    for symbol, values in found.items():
        print(f"{symbol:28}" + "".join(f"{values[name]:14.3f}" for name in names))
    print(json.dumps({symbol: {k: round(v, 4) for k, v in values.items()} for symbol, values in found.items()}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
