"""Order flow at the best quotes, and the ring it is summed in."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.strategy.ofi import BIN_NS, RING_BINS, FlowRing, order_flow

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
    assert order_flow(*BEFORE, *after) == flow


def test_order_flow_of_the_mirrored_book_has_the_other_sign() -> None:
    mirrored = order_flow(-101.0, 7.0, -100.0, 5.0, -102.0, 4.0, -101.0, 2.0)

    assert mirrored == -order_flow(*BEFORE, 101.0, 2.0, 102.0, 4.0)


EVENTS = st.lists(st.tuples(st.integers(0, 1600 * BIN_NS), st.integers(-50, 50)), max_size=60)


@settings(max_examples=150, deadline=None)
@given(events=EVENTS, first=st.integers(0, 1600), length=st.integers(0, 500))
def test_the_ring_agrees_with_summing_all_events_by_hand(
    events: list[tuple[int, int]], first: int, length: int
) -> None:
    ring, kept, late = FlowRing(), {}, 0
    newest = -1

    for ts, flow in events:
        ring.add(ts, float(flow))
        index = ts // BIN_NS
        newest = max(newest, index)
        if index <= newest - RING_BINS:
            late += 1
        else:
            kept[index] = kept.get(index, 0) + flow

    in_reach = {index: flow for index, flow in kept.items() if index > newest - RING_BINS}
    expected = sum(flow for index, flow in in_reach.items() if first <= index < first + length)
    assert ring.total(first * BIN_NS, (first + length) * BIN_NS) == expected
    assert ring.late_count == late


def test_a_window_includes_its_start_and_excludes_its_end() -> None:
    ring = FlowRing()
    ring.add(10 * BIN_NS, 1.0)
    ring.add(11 * BIN_NS - 1, 2.0)
    ring.add(11 * BIN_NS, 4.0)

    assert ring.total(10 * BIN_NS, 11 * BIN_NS) == 3.0
    assert ring.total(11 * BIN_NS, 12 * BIN_NS) == 4.0


def test_an_event_out_of_order_lands_in_its_own_bin() -> None:
    ring = FlowRing()
    ring.add(20 * BIN_NS, 1.0)
    ring.add(15 * BIN_NS, 5.0)

    assert ring.total(15 * BIN_NS, 16 * BIN_NS) == 5.0
    assert ring.late_count == 0


@pytest.mark.parametrize(
    ("bins_behind", "late"),
    [
        pytest.param(RING_BINS - 1, 0, id="the oldest bin is still in time"),
        pytest.param(RING_BINS, 1, id="one bin older is late"),
        pytest.param(RING_BINS * 3, 1, id="much older is late"),
    ],
)
def test_events_older_than_the_ring_are_counted_and_not_used(bins_behind: int, late: int) -> None:
    ring = FlowRing()
    ring.add(2000 * BIN_NS, 1.0)

    ring.add((2000 - bins_behind) * BIN_NS, 10.0)

    assert ring.late_count == late
    assert ring.total(0, 3000 * BIN_NS) == (1.0 if late else 11.0)


def test_flow_is_forgotten_once_the_ring_has_gone_round() -> None:
    ring = FlowRing()
    ring.add(5 * BIN_NS, 9.0)

    ring.add((5 + RING_BINS) * BIN_NS, 1.0)

    assert ring.total(0, (6 + RING_BINS) * BIN_NS) == 1.0
