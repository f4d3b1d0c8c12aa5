"""The sequence of depth messages: nothing is applied twice, out of order, or across a gap."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.strategy.sync import OLD_LIMIT, Apply, DepthSync, Lost, SequenceRule, SyncState

SPOT, FUTURES = SequenceRule.SPOT, SequenceRule.FUTURES


def spoken(steps: list[Apply[str] | Lost]) -> list[str]:
    """Steps as words: a snapshot in capitals, a change as it is, LOST."""
    return [
        "LOST" if isinstance(step, Lost) else step.payload.upper() if step.is_snapshot else step.payload
        for step in steps
    ]


def tell(sync: DepthSync[str], *messages: Any) -> list[str]:
    """Feed messages: (U, u, pu) or (U, u) is a change, a number a snapshot, None a disconnect."""
    said: list[str] = []
    for message in messages:
        if message is None:
            said += spoken(sync.on_disconnect())
        elif isinstance(message, int):
            said += spoken(sync.on_snapshot(message, f"s{message}"))
        else:
            first, last, *previous = message
            said += spoken(sync.on_diff(first, last, previous[0] if previous else None, f"{first}-{last}"))
    return said


@pytest.mark.parametrize(
    ("messages", "applied"),
    [
        pytest.param([(1, 3), (4, 6), 5, (7, 7)], ["S5", "4-6", "7-7"], id="the change around the snapshot follows it"),
        pytest.param([(1, 3), (4, 5), 5, (6, 9)], ["S5", "6-9"], id="a change that ends at the snapshot is in it"),
        pytest.param([(1, 3), (4, 5), 3], ["S3", "4-5"], id="a change may begin right after the snapshot"),
        pytest.param([5, (4, 5), (6, 7)], ["S5", "6-7"], id="the snapshot may come first"),
        pytest.param([5, (6, 9), (8, 11)], ["S5", "6-9", "8-11"], id="an overlap is not a gap"),
        pytest.param([(6, 7), 4, 6], ["S6", "6-7"], id="a snapshot older than the first change is refused"),
        pytest.param([5, (6, 7), (9, 9), (10, 10), 9], ["S5", "6-7", "LOST", "S9", "10-10"], id="a gap needs another"),
        pytest.param([5, (7, 8)], ["S5", "LOST"], id="a gap right after the snapshot"),
        pytest.param([(1, 2), (4, 5), 1, 4], ["S1", "1-2", "LOST", "S4", "4-5"], id="a gap among waiting changes"),
        pytest.param([5, (6, 6), None, (9, 9), 8], ["S5", "6-6", "LOST", "S8", "9-9"], id="a disconnect"),
        pytest.param([(6, 6), None, 5, (8, 8)], ["S5", "LOST"], id="what waited before a disconnect is forgotten"),
        pytest.param([5, (6, 6), 8, (7, 7)], ["S5", "6-6", "7-7"], id="a snapshot nobody needs is ignored"),
    ],
)
def test_spot_changes_follow_by_their_ids(messages: list[Any], applied: list[str]) -> None:
    assert tell(DepthSync(SPOT), *messages) == applied


@pytest.mark.parametrize(
    ("messages", "applied"),
    [
        pytest.param(
            [(10, 13, 8), (15, 19, 13), (21, 24, 19), 16], ["S16", "15-19", "21-24"], id="first change holds the id"
        ),
        pytest.param([(10, 13, 8), (15, 19, 13), 19, (22, 23, 19)], ["S19", "15-19", "22-23"], id="it ends at the id"),
        pytest.param([(10, 13, 8), 9, 11], ["S11", "10-13"], id="a snapshot older than the first change is refused"),
        pytest.param([16, (20, 22, 16)], ["S16", "20-22"], id="a first change may name the snapshot"),
        pytest.param([16, (15, 19, 13), (30, 31, 19)], ["S16", "15-19", "30-31"], id="ids skip where pu follows"),
        pytest.param([16, (15, 19, 13), (20, 24, 18)], ["S16", "15-19", "LOST"], id="ids without a hole, pu does not"),
        pytest.param([16, (15, 19, 13), (18, 24, 17)], ["S16", "15-19", "LOST"], id="only the first may overlap"),
        pytest.param([16, (15, 19, 13), (20, 24)], ["S16", "15-19", "LOST"], id="a change that names no predecessor"),
        pytest.param([16, (17, 19, 12)], ["S16", "LOST"], id="a gap right after the snapshot"),
    ],
)
def test_futures_changes_name_their_predecessor(messages: list[Any], applied: list[str]) -> None:
    assert tell(DepthSync(FUTURES), *messages) == applied


def test_states_and_the_need_of_a_snapshot() -> None:
    sync: DepthSync[str] = DepthSync(SPOT)
    seen = []

    for message in [(1, 2), 2, (3, 3), (5, 5), 4, None]:
        tell(sync, message)
        seen.append((sync.state, sync.needs_snapshot))

    syncing, live, cold = (SyncState.SYNCING, True), (SyncState.LIVE, False), (SyncState.COLD, True)
    assert seen == [syncing, live, live, syncing, live, cold]


@pytest.mark.parametrize("rule", [SPOT, FUTURES])
def test_a_change_that_comes_again_is_counted_and_not_applied(rule: SequenceRule) -> None:
    sync: DepthSync[str] = DepthSync(rule)

    applied = tell(sync, 5, (5, 6, 5), (7, 8, 6), (7, 8, 6), (5, 6, 5), (9, 9, 8))

    assert applied == ["S5", "5-6", "7-8", "9-9"]
    assert (sync.duplicates, sync.gaps, sync.dropped) == (2, 0, 0)


def test_changes_older_than_the_snapshot_are_dropped_not_duplicates() -> None:
    sync: DepthSync[str] = DepthSync(SPOT)

    tell(sync, (1, 2), (3, 4), 6, (5, 6), (7, 7))

    assert (sync.duplicates, sync.gaps, sync.dropped) == (0, 0, 3)


def test_what_waits_when_the_connection_goes_is_dropped() -> None:
    sync: DepthSync[str] = DepthSync(SPOT)

    tell(sync, (1, 2), (3, 4), None)

    assert sync.dropped == 2


def test_every_break_is_a_gap() -> None:
    sync: DepthSync[str] = DepthSync(SPOT)

    tell(sync, 5, (7, 7), (8, 8), 7, (9, 9), (11, 11))

    assert (sync.duplicates, sync.gaps, sync.dropped) == (0, 2, 1)


def test_a_full_buffer_drops_and_counts_the_oldest() -> None:
    sync: DepthSync[str] = DepthSync(SPOT, buffer_limit=2)

    applied = tell(sync, (1, 1), (2, 2), (3, 3), 1)

    assert sync.dropped == 1
    assert applied == ["S1", "2-2", "3-3"]


def test_a_gap_in_one_symbol_resyncs_only_that_symbol() -> None:
    books: list[DepthSync[str]] = [DepthSync(SPOT), DepthSync(SPOT)]
    for sync in books:
        tell(sync, 5, (6, 6))

    tell(books[0], (9, 9))

    assert [sync.needs_snapshot for sync in books] == [True, False]
    assert tell(books[1], (7, 7)) == ["7-7"]


@given(st.data())
def test_what_is_applied_after_a_snapshot_has_no_hole_and_no_repetition(data: st.DataObject) -> None:
    ends = sorted(data.draw(st.sets(st.integers(1, 60), min_size=2)))
    whole = [(first + 1, last) for first, last in zip([0, *ends], ends, strict=False)]
    received = data.draw(st.lists(st.sampled_from([*whole, *ends, None]), max_size=60))
    last = None
    sync: DepthSync[tuple[int, int]] = DepthSync(SPOT)

    for message in received:
        if message is None:
            steps = sync.on_disconnect()
        elif isinstance(message, int):
            steps = sync.on_snapshot(message, (0, message))
        else:
            steps = sync.on_diff(*message, None, message)
        for step in steps:
            if isinstance(step, Lost):
                assert last is not None
                last = None
            elif step.is_snapshot:
                assert last is None
                last = step.payload[1]
            else:
                assert last is not None
                assert step.payload[0] <= last + 1 <= step.payload[1]
                last = step.payload[1]
    assert sync.needs_snapshot == (last is None)


@pytest.mark.parametrize("rule", [SPOT, FUTURES])
def test_an_absurd_id_does_not_freeze_the_book_for_good(rule: SequenceRule) -> None:
    sync: DepthSync[str] = DepthSync(rule)
    assert tell(sync, 2**62)

    said = tell(sync, *((10 * k, 10 * k + 9, 10 * k - 1) for k in range(1, OLD_LIMIT + 2)))

    assert said == ["LOST"]
    assert sync.needs_snapshot
    assert tell(sync, 10 * OLD_LIMIT + 15) == [
        f"S{10 * OLD_LIMIT + 15}",
        f"{10 * OLD_LIMIT + 10}-{10 * OLD_LIMIT + 19}",
    ]
