"""The compiled book equals a plain one: levels, statuses, and the order flow at every rank."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.strategy.kernels.book import APPLIED, FIRST, REFUSED, UNUSABLE, apply_depth, clear_book
from engine.strategy.layout import MARKET, MAX_LEVELS
from tests.oracle.book import Book, Level

BIDS: list[Level] = [(100.0, 5.0), (99.0, 4.0), (98.0, 3.0)]
ASKS: list[Level] = [(101.0, 7.0), (102.0, 6.0)]


class Compiled:
    """The kernel with a memory of its own."""

    def __init__(self, capacity: int = 16) -> None:
        self.m: Any = np.zeros(1, MARKET)[0]
        self.px, self.qty = np.zeros((2, 2, capacity))

    def apply(self, bids: list[Level], asks: list[Level], *, is_snapshot: bool = False) -> tuple[int, list[float]]:
        levels = np.array([(1e9, 1e9), *bids, *asks])  # the message does not begin at the first row
        flow = np.full(MAX_LEVELS, math.nan)
        status = apply_depth(self.m, self.px, self.qty, levels, 1, len(bids), len(asks), is_snapshot, flow)
        return status, flow.tolist()

    def side(self, side: int) -> dict[float, float]:
        size = self.m["book_size"][side]
        prices = self.px[side, :size].tolist()
        assert prices == sorted(prices, reverse=side == 1)
        return dict(zip(prices, self.qty[side, :size].tolist(), strict=True))

    def top(self) -> tuple[list[Level], list[Level]]:
        bids, asks = ([(price, qty) for price, qty in side.tolist() if qty > 0] for side in self.m["top"])
        return bids, asks


def opened(capacity: int = 16) -> Compiled:
    """A book with BIDS and ASKS."""
    book = Compiled(capacity)
    assert book.apply(BIDS, ASKS, is_snapshot=True)[0] == FIRST
    return book


@pytest.mark.parametrize(
    ("bids", "asks", "flow"),
    [
        pytest.param([(100.0, 8.0)], [], [3.0, 0.0, 0.0], id="the best bid grows"),
        pytest.param([(100.5, 2.0)], [], [2.0, 5.0, 4.0], id="a better bid moves every rank up"),
        pytest.param([(100.0, 0.0)], [], [-5.0, -4.0, 0.0], id="the best bid goes: the last rank is absent"),
        pytest.param([], [(101.0, 9.0)], [-2.0, 0.0, 0.0], id="the best ask grows"),
        pytest.param([], [(101.0, 0.0)], [7.0, 0.0, 0.0], id="the best ask goes"),
        pytest.param([], [(100.5, 1.0)], [-1.0, -7.0, 0.0], id="a better ask"),
        pytest.param([(98.5, 0.0)], [(250.0, 0.0)], [0.0, 0.0, 0.0], id="deleting an absent level is normal"),
    ],
)
def test_a_change_makes_the_flow_of_the_formula(bids: list[Level], asks: list[Level], flow: list[float]) -> None:
    status, found = opened().apply(bids, asks)

    assert status == APPLIED
    assert found == flow + [0.0] * (MAX_LEVELS - 3)


@pytest.mark.parametrize(
    ("before", "after", "flow"),
    [
        pytest.param((100.0, 5.0, 101.0, 7.0), (100.0, 8.0, 101.0, 7.0), 3.0, id="size"),
        pytest.param((100.0, 5.0, 101.0, 7.0), (101.0, 2.0, 102.0, 4.0), 9.0, id="up"),
        pytest.param((100.0, 5.0, 101.0, 7.0), (99.0, 9.0, 100.0, 6.0), -11.0, id="down"),
    ],
)
def test_the_first_rank_gives_the_published_cases(before: Any, after: Any, flow: float) -> None:
    book = Compiled()
    book.apply([before[:2]], [before[2:]], is_snapshot=True)

    gone = [(price, 0.0) for price in (before[0], before[2])]
    _, found = book.apply([gone[0], after[:2]], [gone[1], after[2:]])

    assert found[0] == flow


def test_a_snapshot_makes_no_flow_and_forgets_what_was_before() -> None:
    book = opened()

    assert book.apply([(90.0, 1.0)], [(91.0, 1.0)], is_snapshot=True) == (FIRST, [0.0] * MAX_LEVELS)
    assert book.top() == ([(90.0, 1.0)], [(91.0, 1.0)])


def test_a_change_before_any_snapshot_is_not_applied() -> None:
    book = Compiled()

    assert book.apply(BIDS, ASKS) == (UNUSABLE, [0.0] * MAX_LEVELS)
    assert book.side(0) == {}


def test_after_clearing_changes_wait_for_a_snapshot() -> None:
    book = opened()

    clear_book(book.m)

    assert book.top() == ([], [])
    assert book.apply([(100.0, 8.0)], [])[0] == UNUSABLE
    assert book.apply(BIDS, ASKS, is_snapshot=True)[0] == FIRST


@pytest.mark.parametrize(
    ("bids", "asks"),
    [
        pytest.param([(101.5, 1.0)], [], id="crossed"),
        pytest.param([(101.0, 1.0)], [], id="locked"),
        pytest.param([], [(101.0, 0.0), (102.0, 0.0)], id="one-sided"),
    ],
)
def test_an_unusable_book_makes_no_flow_and_is_not_the_state_to_compare_with(
    bids: list[Level], asks: list[Level]
) -> None:
    book = opened()

    first = book.apply(bids, asks)
    second = book.apply([], [])

    assert first == second == (UNUSABLE, [0.0] * MAX_LEVELS)
    assert book.m["crossed_run"] == 2
    assert book.top() == (BIDS, ASKS)
    back = book.apply([(price, 0.0) for price, _ in bids], [(101.0, 9.0), (102.0, 6.0)])
    assert back == (APPLIED, [-2.0] + [0.0] * (MAX_LEVELS - 1))
    assert book.m["crossed_run"] == 0


@pytest.mark.parametrize(
    "level",
    [(100.0, -1.0), (100.0, math.nan), (100.0, math.inf), (0.0, 1.0), (-1.0, 1.0), (math.nan, 1.0), (math.inf, 1.0)],
)
@pytest.mark.parametrize("is_snapshot", [False, True])
def test_one_bad_number_refuses_the_whole_message(level: Level, is_snapshot: bool) -> None:
    book = opened()
    before = book.px.copy(), book.qty.copy(), book.m.tobytes()

    assert book.apply([(100.0, 1.0)], [(103.0, 1.0), level], is_snapshot=is_snapshot) == (REFUSED, [0.0] * MAX_LEVELS)
    assert np.array_equal(before[0], book.px)
    assert np.array_equal(before[1], book.qty)
    assert before[2] == book.m.tobytes()


@pytest.mark.parametrize(("first", "bids", "asks"), [(-1, 1, 0), (0, -1, 1), (0, 1, -1), (1, 1, 1)])
def test_rows_that_do_not_exist_are_refused(first: int, bids: int, asks: int) -> None:
    book = opened()

    status = apply_depth(book.m, book.px, book.qty, np.array(BIDS[:2]), first, bids, asks, False, np.zeros(MAX_LEVELS))

    assert status == REFUSED


def test_a_full_side_forgets_its_furthest_level() -> None:
    book = opened(capacity=3)

    book.apply([(97.0, 1.0), (99.5, 2.0)], [(103.0, 1.0), (104.0, 1.0), (100.5, 1.0)])

    assert book.side(0) == {99.0: 4.0, 99.5: 2.0, 100.0: 5.0}
    assert book.side(1) == {102.0: 6.0, 101.0: 7.0, 100.5: 1.0}


LEVELS = st.lists(
    st.tuples(st.integers(1, 30).map(float), st.sampled_from([0.0, 0.0, 0.125, 1.0, 2.5, 3.0])), max_size=12
)
MESSAGES = st.lists(
    st.tuples(LEVELS, LEVELS, st.sampled_from([False] * 7 + [True]), st.sampled_from([0.0] * 3 + [12.0])), max_size=30
)


@settings(max_examples=400, deadline=None)
@given(capacity=st.sampled_from([1, 2, 5, 12, 64]), messages=MESSAGES)
def test_the_kernel_equals_the_plain_book(capacity: int, messages: list[Any]) -> None:
    compiled, plain = Compiled(capacity), Book(capacity)
    messages = [([(9.0, 1.0)], [(40.0, 1.0)], True, 0.0), *messages]

    for bids, asks, is_snapshot, overlap in messages:
        asks = [(price + 20.0 - overlap, quantity) for price, quantity in asks]
        assert compiled.apply(bids, asks, is_snapshot=is_snapshot) == plain.apply(bids, asks, is_snapshot=is_snapshot)
        assert (compiled.side(0), compiled.side(1)) == (plain.bids, plain.asks)
        assert compiled.top() == plain.top
        assert compiled.m["crossed_run"] == plain.crossed_run
