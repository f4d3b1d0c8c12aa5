"""The compiled fold against its plain Python twin, on messy events; and its promises about replay."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from engine.clock import NS_PER_MS, NS_PER_S
from engine.strategy.events import Instrument
from engine.strategy.kernels import activity
from engine.strategy.kernels import fold as kernels
from engine.strategy.layout import BIN_NS, EVENT, QUOTE, SIGNAL_RING, TRADE, Z_ROBUST, Z_ROLLING
from engine.strategy.records import Measurement
from engine.strategy.state import EMPTY_WINDOW, allocate, begin
from tests.making_market import NO_CAPS, T0, as_rows, end_of, param_rows, random_events
from tests.oracle.engine import OracleSymbol

MEASUREMENT = Measurement(window_s=5, grid_ms=250, horizons_ms=(250, 1000, 5000))
LEVELS = np.zeros((0, 2))
VERSIONS = np.zeros(2, np.int64)


@dataclass
class Folded:
    """What the kernels made of some events."""

    windows: list[tuple[int, Any, list[Any]]]
    published: list[list[tuple[Any, ...]]]
    market: Any


def fold(events: Any, table: Any, caps: Any = NO_CAPS, pieces: int = 1) -> Folded:
    """Fold one symbol's events, cut into pieces; modes stay as pinned."""
    memory = allocate([Instrument("ETHUSDT.binance_usdm")], MEASUREMENT, caps, with_depth=False)
    begin(memory.market[0], table[0], MEASUREMENT, T0)
    folded = Folded([], [[], []], memory.market[0])
    bounds = np.linspace(0, len(events), pieces + 1).astype(int)
    for first, last in pairwise(bounds.tolist()):
        piece = events[first:last]
        until_ns = end_of(events) if last == len(events) else int(events["arrival_ns"][last] - 1) // BIN_NS * BIN_NS
        _fold_piece(memory, table, piece, until_ns, folded)
    return folded


def _fold_piece(memory: Any, table: Any, piece: Any, until_ns: int, folded: Folded) -> None:
    m, at, status = memory.market[0], 0, kernels.WINDOW
    while status != kernels.DONE:
        at, status = kernels.fold(
            memory.market, 0, as_rows(table), VERSIONS, MEASUREMENT.as_array(), memory.samples, memory.books,
            piece, LEVELS, at, until_ns,
        )  # fmt: skip
        for arm, seen in zip(m["arms"], folded.published, strict=True):
            names = ("bucket_end_ns", "lots", "ofi_best", "z_ofi", "z_cvd", "strength", "mid")
            for number in range(len(seen), int(arm["signal_count"])):
                seen.append(tuple(arm["published"][number % SIGNAL_RING][name].item() for name in names))
        if status == kernels.MARKET_WINDOW:
            for j in range(2):
                activity.close_window(memory.market, 0, j, NS_PER_S, np.zeros(5))
        elif status == kernels.WINDOW:
            folded.windows.append((int(m["now_ns"]), m["counts"].copy(), [arm["window"].copy() for arm in m["arms"]]))
            for arm in m["arms"]:
                arm["window"], arm["peak_bps"] = EMPTY_WINDOW, arm["equity_bps"]
            m["counts"] = 0


def oracle(events: Any, table: Any, caps: Any = NO_CAPS) -> OracleSymbol:
    twin = OracleSymbol(table[0], caps[0], MEASUREMENT, T0)
    twin.run([tuple(event) for event in events.tolist()], end_of(events))
    return twin


VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "as shipped": ({}, {}),
    "rolling z": ({"ofi_z": Z_ROLLING, "cvd_z": Z_ROLLING}, {"ofi_z": Z_ROLLING, "ofi_z_floor": 0.5}),
    "robust z": ({"ofi_z": Z_ROBUST, "ofi_z_floor": 0.2}, {"ofi_z": Z_ROBUST, "cvd_z": Z_ROBUST, "cvd_z_floor": 1.0}),
    "plain flow, other grids": (
        {"signed_sqrt": 0, "cvd_signed_sqrt": 0, "bucket_ns": 150 * NS_PER_MS},
        {"window_ns": 2 * NS_PER_S, "watermark_ns": 50 * NS_PER_MS},
    ),
    "tight limits": (
        {"order_rate_limit": 2, "require_agreement": 0},
        {"order_rate_limit": 3, "enter": 0.3, "exit": 0.1},
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_kernels_publish_what_the_plain_python_twin_does(name: str, seed: int) -> None:
    table = param_rows(*VARIANTS[name])
    events = random_events(seed, seconds=40)
    folded, twin = fold(events, table), oracle(events, table)
    for seen, arm in zip(folded.published, twin.arms, strict=True):
        assert len(seen) == len(arm.published) > 100
        for mine, theirs in zip(seen, arm.published, strict=True):
            assert mine[:2] == theirs[:2]
            assert mine[2:] == pytest.approx(theirs[2:], rel=1e-9, abs=1e-9, nan_ok=True)
    assert sum(abs(row[3]) > 0 for row in folded.published[1]) > 50


@pytest.mark.parametrize("name", VARIANTS)
def test_the_kernels_measure_what_the_plain_python_twin_does(name: str) -> None:
    table = param_rows(*VARIANTS[name])
    events = random_events(7, seconds=40)
    folded, twin = fold(events, table), oracle(events, table)
    assert [end for end, *_ in folded.windows] == [end for end, *_ in twin.windows]
    for (_, counts, windows), (_, twin_counts, twin_windows) in zip(folded.windows, twin.windows, strict=True):
        assert {key: int(counts[key]) for key in twin_counts} == twin_counts
        for window, (sums, fit, active_ticks, paper) in zip(windows, twin_windows, strict=True):
            assert window["active_ticks"] == active_ticks
            assert _paper(window) == pytest.approx(paper, rel=1e-12, abs=1e-12)
            assert _numbers(window["fit"]) == pytest.approx(fit, rel=1e-9)
            for mine, theirs in zip(window["signals"], sums, strict=True):
                _assert_same_sums(mine, theirs)
    assert sum(window["orders"] for _, _, windows in folded.windows for window in windows) > 0


def _numbers(record: Any) -> dict[str, Any]:
    return {name: record[name].item() for name in record.dtype.names}


def _paper(window: Any) -> dict[str, float]:
    names = {"gross": "gross_bps", "fees": "fees_bps", "turnover": "turnover", "drawdown": "max_drawdown_bps"}
    names |= {"orders": "orders", "refused": "refused", "capped": "capped"}
    return {short: window[name].item() for short, name in names.items()}


def _assert_same_sums(mine: Any, theirs: dict[str, Any]) -> None:
    assert (mine["n"], mine["hist"].tolist()) == (theirs["n"], theirs["hist"])
    assert (mine["total"], mine["squares"]) == pytest.approx((theirs["total"], theirs["squares"]), rel=1e-9)
    for ic, twin in zip(mine["ic"], theirs["ic"], strict=False):
        assert (ic["hits"], ic["joint"].ravel().tolist()) == (twin["hits"], twin["joint"])
        assert _numbers(ic["pairs"]) == pytest.approx({k: twin[k] for k in ic["pairs"].dtype.names}, rel=1e-9)


@pytest.mark.parametrize("pieces", [2, 7, 400])
def test_the_same_events_give_the_same_bits_however_they_are_cut(pieces: int) -> None:
    table, events = param_rows(), random_events(3, seconds=30)
    whole, cut = fold(events, table), fold(events, table, pieces=pieces)
    assert repr(whole.published) == repr(cut.published)
    assert [w[2][1].tobytes() for w in whole.windows] == [w[2][1].tobytes() for w in cut.windows]


@pytest.mark.parametrize(
    ("cap", "value"),
    [("is_tradable", 0), ("max_order_value_usd", 150_000.0), ("max_position_usd", 50_000.0), ("max_orders_per_min", 1),
     ("max_price_deviation_bps", 1e-9)],
)  # fmt: skip
def test_each_cap_holds_and_is_counted(cap: str, value: float) -> None:
    caps = NO_CAPS.copy()
    caps[cap] = value
    table, events = param_rows(canary={"enter": 0.3, "exit": 0.1}), random_events(5, seconds=40)
    folded, twin = fold(events, table, caps), oracle(events, table, caps)
    capped = [int(windows[1]["capped"]) for _, _, windows in folded.windows]
    assert sum(capped) > 0
    assert capped == [windows[1][3]["capped"] for _, _, windows in twin.windows]
    assert folded.market["arms"][1]["equity_bps"] == pytest.approx(twin.arms[1].equity, rel=1e-12)


def test_a_market_window_is_summarised_as_its_definition_says() -> None:
    table, events = param_rows(), random_events(9, seconds=3, per_second=400, messy=False)
    memory = allocate([Instrument("ETHUSDT.binance_usdm")], MEASUREMENT, NO_CAPS, with_depth=False)
    begin(memory.market[0], table[0], MEASUREMENT, T0)
    twin = oracle(events, table)
    summary, at, end_ns = np.zeros(5), 0, T0 + NS_PER_S
    at, status = kernels.fold(
        memory.market, 0, as_rows(table), VERSIONS, MEASUREMENT.as_array(), memory.samples, memory.books,
        events, LEVELS, at, end_ns,
    )  # fmt: skip
    assert status == kernels.MARKET_WINDOW
    assert activity.close_window(memory.market, 0, 0, NS_PER_S, summary)
    trades, quotes, spread, volume = twin.activity_summary(T0, end_ns)
    assert summary[[0, 1, 2, 4]].tolist() == pytest.approx([trades, quotes, spread, volume], rel=1e-9)
    assert trades > 1000


@pytest.mark.parametrize(
    ("quote", "prices", "sides"),
    [
        pytest.param(
            None, [100, 101, 101, 100, 100, 102], [0, 1, 1, -1, -1, 1], id="no quote: the last change of price"
        ),
        pytest.param((99, 101), [101, 99, 100.5, 99.5], [1, -1, 1, -1], id="above the mid bought, below it sold"),
        pytest.param((99, 101), [99, 100, 100, 101, 100, 100], [-1, 1, 1, 1, -1, -1], id="at the mid: the last change"),
    ],
)
def test_a_side_that_the_venue_does_not_give_is_inferred_and_marked(
    quote: tuple[float, float] | None, prices: list[float], sides: list[int]
) -> None:
    rows = [] if quote is None else [(QUOTE, T0 + 1, T0 + 1, 1, quote[0], 1.0, quote[1], 1.0)]
    rows += [(TRADE, T0 + k, T0 + k, -1, price, 2.0**k, 0.0, 1.0) for k, price in enumerate(prices, start=2)]
    events = np.array(rows, EVENT)

    folded, twin = fold(events, param_rows()), oracle(events, param_rows())

    known = [side for side in sides if side]
    assert folded.market["lots"] == round(sum(side * 2.0**k for k, side in enumerate(sides, start=2)) * 1e8)
    assert folded.market["lots"] == sum(lots for _, lots in twin.trades)
    assert [int(folded.market["counts"][name]) for name in ("trades", "inferred", "refused")] == [
        len(known), len(known), len(sides) - len(known)
    ]  # fmt: skip


def test_a_symbol_of_which_nothing_is_heard_for_a_minute_has_no_signals_until_it_is_heard_again() -> None:
    first, second = random_events(4, seconds=20, messy=False), random_events(6, seconds=20, messy=False)
    for name in ("arrival_ns", "ts_ns"):
        second[name] += 100 * NS_PER_S
    second["id"] += int(first["id"].max())
    events = np.concatenate([first, second])

    folded, twin = fold(events, param_rows()), oracle(events, param_rows())

    rows = folded.published[1]
    assert repr([row[0] for row in rows]) == repr([row[0] for row in twin.arms[1].published])
    for mine, theirs in zip(rows, twin.arms[1].published, strict=True):
        assert mine[2:] == pytest.approx(theirs[2:], rel=1e-9, abs=1e-9, nan_ok=True)
    silent = [row for row in rows if T0 + 82 * NS_PER_S < row[0] <= T0 + 99 * NS_PER_S]
    calm = [row for row in rows if T0 + 30 * NS_PER_S < row[0] <= T0 + 78 * NS_PER_S]
    assert silent
    assert all(np.isnan(row[3]) and np.isnan(row[4]) for row in silent)
    assert not any(np.isnan(row[3]) or np.isnan(row[4]) for row in calm)
    assert not np.isnan(rows[-1][3])
