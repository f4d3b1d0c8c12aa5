"""What both arms of a symbol share: order flow, volume and mids in bins of the venue's time."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.strategy.kernels.flow import flow_between, level_flow_between, lots_at, mean_depth, mid_at
from engine.strategy.kernels.intake import MAX_CROSSED_RUN, on_gap, take_depth, take_quote, take_trade
from engine.strategy.kernels.numerics import order_flow
from engine.strategy.layout import BIN_NS, DEPTH, EVENT, MARKET, MAX_LEVELS, QUOTE, RING_BINS, TRADE

BEFORE = (100.0, 5.0, 101.0, 7.0)


@pytest.mark.parametrize(
    ("after", "flow"),
    [
        pytest.param((100, 8, 101, 7), 3.0, id="the bid queue grows"),
        pytest.param((101, 2, 102, 4), 9.0, id="both prices rise"),
        pytest.param((99, 9, 100, 6), -11.0, id="both prices fall"),
        pytest.param((100, 5, 101, 7), 0.0, id="nothing changes"),
        pytest.param((100, 1, 101, 7), -4.0, id="the bid queue shrinks"),
        pytest.param((100, 5, 101, 9), -2.0, id="the ask queue grows"),
        pytest.param((100, 5, 101, 3), 4.0, id="the ask queue shrinks"),
        pytest.param((100.5, 2, 101, 7), 2.0, id="the bid rises and the ask ties"),
        pytest.param((99, 9, 101, 7), -5.0, id="the bid falls and the ask ties"),
        pytest.param((100, 5, 102, 4), 7.0, id="the ask rises and the bid ties"),
        pytest.param((100, 5, 100.5, 6), -6.0, id="the ask falls and the bid ties"),
        pytest.param((99, 9, 102, 4), 2.0, id="the spread widens"),
        pytest.param((100.2, 2, 100.8, 6), -4.0, id="the spread narrows"),
    ],
)
def test_order_flow_follows_conts_table(after: tuple[float, float, float, float], flow: float) -> None:
    assert order_flow(*BEFORE, *(float(x) for x in after)) == flow


def test_order_flow_of_the_mirrored_book_has_the_other_sign() -> None:
    mirrored = order_flow(-101.0, 7.0, -100.0, 5.0, -102.0, 4.0, -101.0, 2.0)

    assert mirrored == -order_flow(*BEFORE, 101.0, 2.0, 102.0, 4.0)


def market() -> Any:
    """One symbol of which nothing has been heard."""
    record: Any = np.zeros(1, MARKET)[0]
    record["last_trade_id"] = record["last_quote_id"] = -1
    record["lots_per_unit"] = 1e8
    return record


def event(kind: int, ts_ns: int, a: float, b: float, c: float, d: float = 0.0) -> Any:
    return np.array([(kind, ts_ns, ts_ns, -1, a, b, c, d)], EVENT)[0]


def quote(m: Any, ts_ns: int, bid_qty: float, bid_px: float = 100.0, ask_px: float = 101.0) -> bool:
    return take_quote(m, event(QUOTE, ts_ns, bid_px, bid_qty, ask_px, 1.0))


def trade(m: Any, ts_ns: int, qty: float, aggressor: int = 1) -> float:
    return take_trade(m, event(TRADE, ts_ns, 100.0, qty, float(aggressor)))


def with_flows(*flows: tuple[int, float]) -> Any:
    """A symbol whose best bid queue changed by these amounts at these times."""
    m, qty = market(), 1000.0
    quote(m, 0, qty)
    for ts_ns, flow in flows:
        qty += flow
        quote(m, ts_ns, qty)
    return m


EVENTS = st.lists(st.tuples(st.integers(0, 1600 * BIN_NS), st.integers(-9, 50)), max_size=60)


@settings(max_examples=150, deadline=None)
@given(events=EVENTS, first=st.integers(0, 1600), length=st.integers(0, 500))
def test_the_ring_agrees_with_summing_all_events_by_hand(
    events: list[tuple[int, int]], first: int, length: int
) -> None:
    m, kept, newest = with_flows(*((ts, float(flow)) for ts, flow in events)), dict[int, int](), 0

    for ts, flow in events:
        index = ts // BIN_NS
        newest = max(newest, index)
        if index > newest - RING_BINS:
            kept[index] = kept.get(index, 0) + flow

    in_reach = {index: flow for index, flow in kept.items() if index > newest - RING_BINS}
    expected = sum(flow for index, flow in in_reach.items() if first <= index < first + length)
    assert flow_between(m, first * BIN_NS, (first + length) * BIN_NS) == expected


def test_a_window_includes_its_start_and_excludes_its_end() -> None:
    m = with_flows((10 * BIN_NS, 1.0), (11 * BIN_NS - 1, 2.0), (11 * BIN_NS, 4.0))

    assert flow_between(m, 10 * BIN_NS, 11 * BIN_NS) == 3.0
    assert flow_between(m, 11 * BIN_NS, 12 * BIN_NS) == 4.0


def test_an_event_out_of_order_lands_in_its_own_bin() -> None:
    m = with_flows((20 * BIN_NS, 1.0), (15 * BIN_NS, 5.0))

    assert flow_between(m, 15 * BIN_NS, 16 * BIN_NS) == 5.0
    assert flow_between(m, 20 * BIN_NS, 21 * BIN_NS) == 1.0


@pytest.mark.parametrize(
    ("bins_behind", "total"),
    [
        pytest.param(RING_BINS - 1, 11.0, id="the oldest bin is still there"),
        pytest.param(RING_BINS, 1.0, id="one bin older is gone"),
        pytest.param(RING_BINS * 3, 1.0, id="much older is gone"),
    ],
)
def test_flow_older_than_the_ring_is_not_used(bins_behind: int, total: float) -> None:
    m = with_flows((2000 * BIN_NS, 1.0), ((2000 - bins_behind) * BIN_NS, 10.0))

    assert flow_between(m, 0, 3000 * BIN_NS) == total


def test_flow_is_forgotten_once_the_ring_has_gone_round() -> None:
    m = with_flows((5 * BIN_NS, 9.0), ((5 + RING_BINS) * BIN_NS, 1.0))

    assert flow_between(m, 0, (6 + RING_BINS) * BIN_NS) == 1.0


def test_after_a_gap_the_next_quote_only_sets_the_state() -> None:
    m = with_flows((10 * BIN_NS, 1.0))

    on_gap(m, 11 * BIN_NS)
    quote(m, 12 * BIN_NS, 500.0)
    quote(m, 13 * BIN_NS, 503.0)

    assert flow_between(m, 0, 20 * BIN_NS) == 1.0 + 3.0
    assert (m["counts"]["gaps"], m["gap_count"], m["gap_until_ns"]) == (1, 1, 12 * BIN_NS)


@pytest.mark.parametrize(
    ("crossed", "flow"),
    [
        pytest.param(1, 40.0, id="one crossed quote is passed over"),
        pytest.param(MAX_CROSSED_RUN, 40.0, id="as many as may be"),
        pytest.param(MAX_CROSSED_RUN + 1, 0.0, id="one more and the last good one is forgotten"),
    ],
)
def test_a_run_of_crossed_quotes_makes_the_next_only_set_the_state(crossed: int, flow: float) -> None:
    m = market()
    quote(m, 10 * BIN_NS, 10.0)

    used = [quote(m, 11 * BIN_NS, 99.0, bid_px=102.0) for _ in range(crossed)]
    quote(m, 12 * BIN_NS, 50.0)

    assert used == [False] * crossed
    assert flow_between(m, 0, 20 * BIN_NS) == flow
    assert m["counts"]["crossed"] == crossed


def test_a_good_quote_ends_a_run_of_crossed_ones() -> None:
    m = market()
    quote(m, 10 * BIN_NS, 10.0)

    for bid_qty in (11.0, 12.0, 13.0):
        for _ in range(MAX_CROSSED_RUN):
            quote(m, 11 * BIN_NS, 99.0, bid_px=102.0)
        quote(m, 12 * BIN_NS, bid_qty)

    assert flow_between(m, 0, 20 * BIN_NS) == 3.0


def test_cumulative_volume_is_exact_and_up_to_the_edge_it_is_asked_for() -> None:
    m = market()
    for bin_, qty, aggressor in ((10, 0.1, 1), (11, 0.2, 1), (10, 0.3, -1), (13, 1e-8, 1)):
        trade(m, bin_ * BIN_NS, qty, aggressor)

    assert [lots_at(m, edge * BIN_NS) for edge in (10, 11, 12, 14)] == [0, -20_000_000, 0, 1]
    assert m["lots"] == 1


def test_volume_older_than_the_ring_is_in_every_total() -> None:
    m = market()
    trade(m, 5 * BIN_NS, 2.0)
    trade(m, (5 + 2 * RING_BINS) * BIN_NS, 1.0, -1)
    trade(m, 6 * BIN_NS, 4.0)

    edge = 5 + 2 * RING_BINS
    assert [lots_at(m, at * BIN_NS) for at in (edge, edge + 1)] == [600_000_000, 500_000_000]


@pytest.mark.parametrize(
    ("contract_usd", "value"), [pytest.param(0.0, 250.0, id="linear"), pytest.param(10.0, 25.0, id="inverse")]
)
def test_the_value_of_a_trade_is_in_quote_currency(contract_usd: float, value: float) -> None:
    m = market()
    m["contract_usd"] = contract_usd

    assert trade(m, BIN_NS, 2.5) == value
    assert m["tick_volume_usd"] == value


def test_the_mid_of_an_edge_is_that_of_the_last_quote_before_it() -> None:
    m = market()
    quote(m, 10 * BIN_NS, 1.0, 100.0, 101.0)
    quote(m, 11 * BIN_NS - 1, 1.0, 100.0, 102.0)
    quote(m, 11 * BIN_NS, 1.0, 100.0, 104.0)

    assert math.isnan(mid_at(m, 10 * BIN_NS))
    assert [mid_at(m, edge * BIN_NS) for edge in (11, 12, 300)] == [101.0, 102.0, 102.0]


def test_a_mid_lasts_through_silence_and_is_not_known_before_the_ring() -> None:
    m = market()
    quote(m, 10 * BIN_NS, 1.0)
    quote(m, (10 + RING_BINS) * BIN_NS, 1.0, 100.0, 103.0)

    assert mid_at(m, (10 + RING_BINS) * BIN_NS) == 100.5
    assert math.isnan(mid_at(m, 11 * BIN_NS))


def depth(m: Any, book: Any, ts_ns: int, bid_qty: float, *, is_snapshot: bool) -> None:
    """A message that says what one bid and one ask are."""
    levels = np.array([[100.0, bid_qty], [101.0, 2.0]])
    take_depth(m, book, levels, event(DEPTH, ts_ns, 0.0, 1.0, 1.0, float(is_snapshot)), np.empty(MAX_LEVELS))


def test_depth_adds_the_flow_of_each_rank_and_its_average_quantity() -> None:
    m, book = market(), np.zeros((2, 2, 16))
    depth(m, book, 10 * BIN_NS, 5.0, is_snapshot=True)
    depth(m, book, 11 * BIN_NS, 8.0, is_snapshot=False)

    assert level_flow_between(m, 0, 10 * BIN_NS, 12 * BIN_NS) == 3.0
    assert level_flow_between(m, 0, 10 * BIN_NS, 11 * BIN_NS) == 0.0
    assert mean_depth(m, 1, 11 * BIN_NS, 12 * BIN_NS) == (8.0 + 2.0) / 2
    assert math.isnan(mean_depth(m, 1, 12 * BIN_NS, 13 * BIN_NS))
    assert m["counts"]["depths"] == 2


def test_depth_is_forgotten_once_the_ring_has_gone_round() -> None:
    m, book = market(), np.zeros((2, 2, 16))
    for bin_, bid_qty in ((10, 5.0), (11, 8.0), (11 + RING_BINS, 9.0)):
        depth(m, book, bin_ * BIN_NS, bid_qty, is_snapshot=bin_ == 10)

    newest = (11 + RING_BINS) * BIN_NS
    assert level_flow_between(m, 0, 0, newest + BIN_NS) == 1.0
    assert mean_depth(m, 1, newest, newest + BIN_NS) == (9.0 + 2.0) / 2


def test_after_a_gap_changes_of_the_book_wait_for_a_snapshot() -> None:
    m, book = market(), np.zeros((2, 2, 16))
    depth(m, book, 10 * BIN_NS, 5.0, is_snapshot=True)
    on_gap(m, 11 * BIN_NS)

    depth(m, book, 12 * BIN_NS, 8.0, is_snapshot=False)
    had_book = int(m["has_book"])
    depth(m, book, 13 * BIN_NS, 9.0, is_snapshot=True)

    assert (had_book, int(m["has_book"])) == (0, 1)
    assert level_flow_between(m, 0, 0, 20 * BIN_NS) == 0.0
