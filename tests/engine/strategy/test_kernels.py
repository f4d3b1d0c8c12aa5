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
from engine.strategy.layout import ACTIVE, BIN_NS, EVENT, GAP, MANUAL, QUOTE, SIGNAL_RING, TRADE, Z_ROBUST, Z_ROLLING
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


def shifted(events: Any, seconds: int, first_id: int) -> Any:
    later = events.copy()
    for name in ("arrival_ns", "ts_ns"):
        later[name] += seconds * NS_PER_S
    later["id"] += first_id
    return later


def same_as_twin(folded: Folded, twin: OracleSymbol) -> None:
    for seen, arm in zip(folded.published, twin.arms, strict=True):
        assert len(seen) == len(arm.published)
        for mine, theirs in zip(seen, arm.published, strict=True):
            assert mine[:2] == theirs[:2]
            assert mine[2:] == pytest.approx(theirs[2:], rel=1e-9, abs=1e-9, nan_ok=True)


def test_a_symbol_that_falls_silent_loses_its_signals_and_gets_them_back() -> None:
    first, second = random_events(4, seconds=20, messy=False), random_events(6, seconds=20, messy=False)
    events = np.concatenate([first, shifted(second, 700, int(first["id"].max()))])

    folded, twin = fold(events, param_rows()), oracle(events, param_rows())

    same_as_twin(folded, twin)
    rows = folded.published[1]

    def known(column: int, since_s: int, until_s: int) -> set[bool]:
        return {
            not np.isnan(row[column]) for row in rows if T0 + since_s * NS_PER_S < row[0] <= T0 + until_s * NS_PER_S
        }

    assert (known(3, 30, 78), known(3, 82, 699)) == ({True}, {False})
    assert (known(4, 30, 600), known(4, 625, 699)) == ({True}, {False})
    assert not np.isnan(rows[-1][3]) and not np.isnan(rows[-1][4])  # noqa: PT018


def test_a_mid_that_comes_late_counts_up_to_the_next_bin_that_has_a_quote() -> None:
    events = random_events(8, seconds=400, per_second=2.0)

    same_as_twin(fold(events, param_rows()), oracle(events, param_rows()))


def test_an_outage_of_quotes_is_no_calm() -> None:
    first, second = random_events(4, seconds=20, messy=False), random_events(6, seconds=20, messy=False)
    lost = np.array([(GAP, T0 + 20 * NS_PER_S, T0 + 20 * NS_PER_S, -1, 0.0, 0.0, 0.0, 0.0)], EVENT)
    events = np.concatenate([first, lost, shifted(second, 50, int(first["id"].max()))])

    folded, twin = fold(events, param_rows()), oracle(events, param_rows())

    same_as_twin(folded, twin)
    outage = [row for row in folded.published[1] if T0 + 20 * NS_PER_S < row[0] <= T0 + 51 * NS_PER_S]
    assert len(outage) > 100
    assert all(np.isnan(row[3]) for row in outage)


FAR_ID = 2**62


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("id", FAR_ID, TRADE), ("id", FAR_ID, QUOTE), ("a", 1e10, TRADE), ("a", 1e-300, TRADE), ("b", 1e10, TRADE),
        ("b", 1e200, QUOTE), ("c", 1e10, QUOTE), ("d", 1e16, QUOTE),
    ],
)  # fmt: skip
def test_one_absurd_number_is_refused_and_changes_nothing_that_follows(name: str, value: float, kind: int) -> None:
    plain = random_events(5, seconds=30, messy=False)
    at = next(k for k in range(len(plain) // 2, len(plain)) if plain["kind"][k] == kind)
    absurd = plain[at : at + 1].copy()
    absurd["id"] -= 1 if name != "id" else 0
    absurd[name] = value

    folded = fold(np.concatenate([plain[:at], absurd, plain[at:]]), param_rows())

    assert sum(int(counts["refused"]) for _, counts, _ in folded.windows) == 1
    assert repr(folded.published) == repr(fold(plain, param_rows()).published)


@pytest.mark.parametrize("kind", [TRADE, QUOTE])
def test_a_venue_that_counts_anew_is_believed_after_a_while(kind: int) -> None:
    plain = random_events(5, seconds=30, per_second=2000.0, messy=False)
    late = np.flatnonzero((plain["kind"] == kind) & (plain["arrival_ns"] > T0 + 5 * NS_PER_S))
    plain["id"] += 1_000_000
    plain["id"][late] -= 1_000_000

    folded = fold(plain, param_rows())

    counted = [int(counts["trades" if kind == TRADE else "quotes"]) for _, counts, _ in folded.windows]
    assert counted[1] == 0
    assert sum(counted[1:]) == len(late) - 10_001
    assert sum(int(counts["duplicates"]) for _, counts, _ in folded.windows) == 10_001


def test_a_volume_delta_is_refused_before_it_would_wrap() -> None:
    rows = [(TRADE, T0 + k, T0 + k, k, 100.0, 2.0**53 / 1e8, 1.0, 0.0) for k in range(1, 600)]

    folded = fold(np.array(rows, EVENT), param_rows())

    assert folded.market["lots"] == 2**62
    assert folded.market["counts"]["refused"] == 599 - 2**62 // 2**53


def test_a_position_over_its_cap_after_a_change_of_mode_is_left_at_once() -> None:
    caps = NO_CAPS.copy()
    caps["max_position_usd"] = 30_000.0
    table = param_rows(canary={"pin": -1, "enter": 0.3, "exit": 0.0})
    memory = allocate([Instrument("ETHUSDT.binance_usdm")], MEASUREMENT, caps, with_depth=False)
    begin(memory.market[0], table[0], MEASUREMENT, T0)
    folded = Folded([], [[], []], memory.market[0])
    first, second = random_events(4, seconds=20, messy=False), random_events(6, seconds=20, messy=False)
    _fold_piece(memory, table, first, end_of(first), folded)
    arm = memory.market[0]["arms"][1]
    arm["position"], arm["wanted"], arm["marked_mid"] = 1, 1, 100.0

    kernels.switch_mode(memory.market, 0, as_rows(table), 1, ACTIVE, MANUAL)
    later = shifted(second, 20, int(first["id"].max()))
    _fold_piece(memory, table, later[later["arrival_ns"] < T0 + 21 * NS_PER_S], T0 + 21 * NS_PER_S, folded)

    assert arm["position"] == 0
    assert arm["window"]["capped"] > 0
