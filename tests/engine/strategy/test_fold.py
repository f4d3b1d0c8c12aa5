"""Events to window records: reproducible, counted, and never mixed."""

import math
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from engine.strategy.caps import cap_rows
from engine.strategy.events import TICK_NS, BookTop, Event, EventBatch, Instrument, Slice, Trade
from engine.strategy.fold import ARMS, BASELINE, CANARY, Fold
from engine.strategy.host import Deployment, Host
from engine.strategy.kernels.intake import MAX_BEHIND_NS, MAX_CROSSED_RUN
from engine.strategy.layout import BASELINE_ARM, CANARY_ARM, DEPTH, EVENT, GAP, MAX_AHEAD_NS, QUOTE, RING_BINS, TRADE
from engine.strategy.mode import Mode, Reason
from engine.strategy.params import StrategyParams, canonical_json, fingerprint
from engine.strategy.records import WindowRecord
from engine.strategy.table import first_snapshot
from tests.making import MEASUREMENT, MS, T0, WIDE_CAPS, S, params_with

SYMBOL = "ETHUSDT.binance_usdm"
OTHER = "BTCUSDT.binance_usdm"
ETH = Instrument(SYMBOL)
NAN = float("nan")
INF = float("inf")


def market(seconds: int, seed: int = 1) -> list[Slice]:
    """A random walk of quotes with trades, one slice per tick."""
    dice = random.Random(seed)
    mid, trade_id, slices = 2000.0, 0, []
    for tick in range(1, seconds * 20 + 1):
        clock_ns, events = T0 + tick * TICK_NS, list[Event]()
        for _ in range(dice.randint(0, 4)):
            mid += dice.gauss(0, 0.05)
            ts = clock_ns - dice.randint(0, 40) * MS
            events.append(BookTop(ts, mid - 0.05, dice.uniform(1, 9), mid + 0.05, dice.uniform(1, 9)))
            if dice.random() < 0.7:
                trade_id += 1
                events.append(Trade(ts, mid, dice.uniform(0.1, 2), dice.choice([1, -1]), trade_id))
        slices.append(Slice(clock_ns - TICK_NS, clock_ns, {SYMBOL: EventBatch.of(events, clock_ns)}))
    return slices


def joined(slices: Sequence[Slice], length: int) -> list[Slice]:
    """The same events in slices that are `length` times as long."""
    groups = [slices[first : first + length] for first in range(0, len(slices), length)]
    return [
        Slice(
            group[0].from_ns,
            group[-1].clock_ns,
            {SYMBOL: EventBatch(np.concatenate([piece.batches[SYMBOL].events for piece in group]))},
        )
        for group in groups
    ]


def fold_of(params: StrategyParams | None = None, *instruments: Instrument) -> Fold:
    items = instruments or (ETH,)
    symbols = [item.symbol for item in items]
    return Fold(items, MEASUREMENT, first_snapshot(params or params_with(), symbols), cap_rows(WIDE_CAPS, symbols))


def records_of(folding: Fold | Host, slices: Sequence[Slice]) -> list[WindowRecord]:
    return [record for piece in slices for record in folding.consume(piece)]


def rows_of(slices: Sequence[Slice], params: StrategyParams | None = None) -> list[dict[str, Any]]:
    return [record.to_row(MEASUREMENT) for record in records_of(fold_of(params), slices)]


MIDDLE = T0 + S // 2
"""When events of a window that is about them arrive."""


def fed(batch: EventBatch) -> tuple[Fold, dict[str, Any]]:
    """A fold, and the baseline's row of its first window, in which only these events happened."""
    folding = fold_of()
    records = folding.consume(Slice(T0, T0 + S, {SYMBOL: batch}))
    return folding, records[BASELINE_ARM].to_row(MEASUREMENT)


def counted(*events: Event) -> dict[str, Any]:
    return fed(EventBatch.of(events, MIDDLE))[1]


def quote(bid_px: float = 99.0, bid_qty: float = 1.0, ask_px: float = 101.0, ask_qty: float = 1.0) -> BookTop:
    return BookTop(MIDDLE, bid_px, bid_qty, ask_px, ask_qty)


def trade(price: float = 100.0, qty: float = 1.0, aggressor: int = 1, trade_id: int = -1) -> Trade:
    return Trade(MIDDLE, price, qty, aggressor, trade_id)


def raw(*rows: tuple[Any, ...]) -> EventBatch:
    """Rows of the memory layout: kind, arrival, time, id, a, b, c, d."""
    return EventBatch(np.array(list(rows), EVENT))


def gap_at(ns: int) -> EventBatch:
    return raw((GAP, ns, ns, -1, 0.0, 0.0, 0.0, 0.0))


def test_the_same_slices_give_identical_rows() -> None:
    rows = rows_of(market(20))

    assert rows == rows_of(market(20))
    assert len(rows) == 2 * 20
    assert any(row["z_ofi_n"] and row["z_cvd_n"] for row in rows)


def test_other_slices_give_other_rows() -> None:
    assert rows_of(market(5, seed=1)) != rows_of(market(5, seed=2))


@pytest.mark.parametrize("length", [2, 7, 30, 400])
def test_longer_slices_give_identical_rows(length: int) -> None:
    params = params_with({"hysteresis.min_active_windows": 1, "paper.latency_ms": 0})
    rows = rows_of(market(20), params)

    assert rows_of(joined(market(20), length), params) == rows
    assert {row["mode"] for row in rows} == {"quiet", "active"}


def test_arms_with_the_same_parameters_give_identical_rows() -> None:
    rows = rows_of(market(20), params_with({"hysteresis.min_active_windows": 1, "paper.latency_ms": 0}))

    mine = [[{**row, "arm": ""} for row in rows if row["arm"] == arm] for arm in (BASELINE, CANARY)]
    assert mine[0] == mine[1]
    assert sum(row["orders"] for row in mine[0]) > 0


@pytest.mark.parametrize(
    "instrument",
    [pytest.param(ETH, id="linear"), pytest.param(Instrument(SYMBOL, 10.0), id="inverse")],
)
def test_cvd_is_exactly_the_signed_sum_of_quantities(instrument: Instrument) -> None:
    folding, slices = fold_of(None, instrument), market(10)
    records_of(folding, slices)

    events = np.concatenate([piece.batches[SYMBOL].events for piece in slices])
    trades = events[events["kind"] == TRADE]
    expected = sum(int(side) * round(qty * 1e8) for qty, side in zip(trades["b"], trades["c"], strict=True))
    assert folding.memory.market[0]["lots"] == expected != 0


@pytest.mark.parametrize(
    ("instrument", "value"),
    [
        pytest.param(ETH, 250.0, id="linear: price times quantity"),
        pytest.param(Instrument(SYMBOL, 10.0), 25.0, id="inverse: face value of the contracts"),
    ],
)
def test_a_trade_enters_the_signal_with_its_value_and_side(instrument: Instrument, value: float) -> None:
    folding = fold_of(None, instrument)
    folding.consume(Slice(T0, T0 + S, {SYMBOL: EventBatch.of([trade(qty=2.5, aggressor=-1)], MIDDLE)}))

    for arm in folding.memory.market[0]["arms"]:
        assert arm["size"]["mean"] == value
        assert arm["cvd_ema"] == pytest.approx(-value * 2 / 11)


@pytest.mark.parametrize(
    ("ids", "trades", "lost", "gaps", "duplicates"),
    [
        pytest.param([5, 6, 7], 3, 0, 0, 0, id="no gap"),
        pytest.param([5, 9], 2, 3, 1, 0, id="one gap of three"),
        pytest.param([5, 7, 9], 3, 2, 2, 0, id="two gaps of one"),
        pytest.param([5, 6, 6, 7], 3, 0, 0, 1, id="a duplicate"),
        pytest.param([5, 6, 5, 6, 7], 3, 0, 0, 2, id="a repeated stretch"),
        pytest.param([-1, -1, -1], 3, 0, 0, 0, id="no ids"),
        pytest.param([0, 1], 2, 0, 0, 0, id="ids start at zero"),
    ],
)
def test_missing_trade_ids_are_lost_and_repeated_ones_are_dropped(
    ids: list[int], trades: int, lost: int, gaps: int, duplicates: int
) -> None:
    row = counted(*(trade(trade_id=trade_id) for trade_id in ids))

    assert (row["trades"], row["lost"], row["gaps"], row["duplicates"]) == (trades, lost, gaps, duplicates)


@pytest.mark.parametrize(
    ("ids", "quotes", "duplicates"),
    [
        pytest.param([5, 6, 9], 3, 0, id="ids skip, since symbols share them"),
        pytest.param([5, 5, 6], 2, 1, id="a duplicate"),
        pytest.param([5, 4, 6], 2, 1, id="an older one"),
        pytest.param([-1, -1], 2, 0, id="no ids"),
    ],
)
def test_a_quote_that_is_not_newer_is_dropped(ids: list[int], quotes: int, duplicates: int) -> None:
    row = counted(*(BookTop(MIDDLE, 99.0, 1.0, 101.0, 1.0, update_id) for update_id in ids))

    assert (row["quotes"], row["duplicates"], row["lost"]) == (quotes, duplicates, 0)


def test_a_duplicate_is_not_in_cvd() -> None:
    folding, _ = fed(EventBatch.of([trade(trade_id=1), trade(trade_id=1)], MIDDLE))

    assert folding.memory.market[0]["lots"] == 1e8


def test_a_side_that_was_inferred_is_counted() -> None:
    side = (TRADE, MIDDLE, MIDDLE, -1, 100.0, 1.0, 1.0)
    _, row = fed(raw((*side, 1.0), (*side, 0.0)))

    assert (row["trades"], row["inferred"]) == (2, 1)


@pytest.mark.parametrize(
    ("event", "column"),
    [
        pytest.param(trade(price=NAN), "refused", id="trade price is no number"),
        pytest.param(trade(price=-1.0), "refused", id="trade price is negative"),
        pytest.param(trade(price=0.0), "refused", id="trade price is zero"),
        pytest.param(trade(price=INF), "refused", id="trade price is infinite"),
        pytest.param(trade(qty=NAN), "refused", id="trade quantity is no number"),
        pytest.param(trade(qty=0.0), "refused", id="trade quantity is zero"),
        pytest.param(trade(qty=INF), "refused", id="trade quantity is infinite"),
        pytest.param(trade(aggressor=0), "refused", id="side is unknown"),
        pytest.param(trade(aggressor=2), "refused", id="side is nonsense"),
        pytest.param(quote(bid_px=NAN), "refused", id="bid is no number"),
        pytest.param(quote(ask_px=-1.0), "refused", id="ask is negative"),
        pytest.param(quote(bid_qty=0.0), "refused", id="bid quantity is zero"),
        pytest.param(quote(ask_qty=INF), "refused", id="ask quantity is infinite"),
        pytest.param(quote(bid_px=101.5), "crossed", id="bid above ask"),
        pytest.param(quote(bid_px=101.0), "crossed", id="bid equals ask"),
        pytest.param(BookTop(T0 - 86400 * S, 99.0, 1.0, 101.0, 1.0), "refused", id="a quote a day old"),
        pytest.param(BookTop(T0 + 3 * 86400 * S, 99.0, 1.0, 101.0, 1.0), "refused", id="a quote three days ahead"),
        pytest.param(Trade(T0 - 86400 * S, 100.0, 1.0, 1), "refused", id="a trade a day old"),
        pytest.param(Trade(0, 100.0, 1.0, 1), "refused", id="a trade without a time"),
    ],
)
def test_an_unusable_event_is_refused_and_counted(event: Event, column: str) -> None:
    row = counted(event)

    assert row[column] == 1
    assert row["trades"] == row["quotes"] == row["events"] == 0
    assert row["mid"] is None


@pytest.mark.parametrize(
    "batch",
    [
        pytest.param(raw((9, MIDDLE, MIDDLE, -1, 1.0, 1.0, 1.0, 1.0)), id="an unknown kind"),
        pytest.param(raw((DEPTH, MIDDLE, MIDDLE, -1, 0.0, 1.0, 1.0, 1.0)), id="depth where no book is kept"),
    ],
)
def test_what_cannot_be_folded_is_refused_and_counted(batch: EventBatch) -> None:
    _, row = fed(batch)

    assert (row["refused"], row["events"]) == (1, 0)


NOW = MIDDLE - TICK_NS
"""The market's clock when an event that arrives in the middle is folded: the tick before."""


@pytest.mark.parametrize(
    ("ts_ns", "refused"),
    [
        pytest.param(NOW - MAX_BEHIND_NS, 0, id="a minute old"),
        pytest.param(NOW - MAX_BEHIND_NS - 1, 1, id="older than a minute"),
        pytest.param(NOW + TICK_NS + MAX_AHEAD_NS, 0, id="five seconds ahead"),
        pytest.param(NOW + TICK_NS + MAX_AHEAD_NS + 1, 1, id="more than five seconds ahead"),
    ],
)
def test_an_event_whose_time_cannot_be_right_is_refused(ts_ns: int, refused: int) -> None:
    assert (MAX_BEHIND_NS, MAX_AHEAD_NS) == (60 * S, 5 * S)
    assert counted(Trade(ts_ns, 100.0, 1.0, 1))["refused"] == refused
    assert counted(BookTop(ts_ns, 99.0, 1.0, 101.0, 1.0))["refused"] == refused


def test_a_refused_quote_leaves_the_book_as_it_was() -> None:
    row = counted(quote(), quote(bid_px=NAN), quote(bid_px=200.0))

    assert row["mid"] == 100.0
    assert (row["quotes"], row["refused"], row["crossed"]) == (1, 1, 1)


TAKEN = T0 + 3800 * MS
"""Latest bucket end whose watermark of 100 ms has passed a tick before T0 + 4 s."""


@pytest.mark.parametrize(
    ("ts_ns", "late"),
    [
        pytest.param(TAKEN, 0, id="its bucket is still to be taken"),
        pytest.param(TAKEN - 1, 1, id="its bucket was taken"),
        pytest.param(TAKEN - 30 * S, 1, id="older than the ring"),
    ],
)
def test_what_comes_after_its_bucket_was_taken_is_late(ts_ns: int, late: int) -> None:
    folding = fold_of()
    records_of(folding, market(3))
    end_ns = T0 + 4 * S
    events: list[Event] = [Trade(ts_ns, 2000.0, 1.0, 1), BookTop(ts_ns, 1999.0, 5.0, 2001.0, 1.0)]

    record = folding.consume(Slice(T0 + 3 * S, end_ns, {SYMBOL: EventBatch.of(events, end_ns)}))[0]

    assert record.counts["late"] == 2 * late
    assert (record.counts["trades"], record.counts["quotes"]) == (1, 1)


def test_late_flow_is_still_added() -> None:
    folding = fold_of()
    start = [BookTop(T0 + 100 * MS, 99.0, 1.0, 101.0, 1.0)]
    late: list[Event] = [BookTop(T0 + 100 * MS, 99.0, 8.0, 101.0, 1.0), Trade(T0 + 100 * MS, 100.0, 2.0, -1)]
    folding.consume(Slice(T0, T0 + 3 * S, {SYMBOL: EventBatch.of(start, T0 + 100 * MS)}))
    folding.consume(Slice(T0 + 3 * S, T0 + 4 * S, {SYMBOL: EventBatch.of(late, T0 + 4 * S)}))

    m = folding.memory.market[0]
    slot = (T0 + 100 * MS) // TICK_NS % RING_BINS
    assert (m["flow"][slot], m["delta"][slot], m["lots"]) == (7.0, -2e8, -2e8)


def test_an_order_flow_z_is_not_known_while_its_window_touches_a_gap() -> None:
    gap_ns, slices = T0 + 6 * S + 30 * MS, market(9)
    at = next(n for n, piece in enumerate(slices) if piece.clock_ns >= gap_ns)
    events = np.concatenate([slices[at].batches[SYMBOL].events, gap_at(gap_ns).events])
    events["arrival_ns"] = slices[at].clock_ns
    slices[at] = Slice(slices[at].from_ns, slices[at].clock_ns, {SYMBOL: EventBatch(events)})
    folding = fold_of()
    records = records_of(folding, slices)

    arm = folding.memory.market[0]["arms"][CANARY_ARM]
    rows = arm["published"][: arm["signal_count"]]
    warm = rows[rows["bucket_end_ns"] > T0 + 4 * S]
    unknown = warm["bucket_end_ns"][np.isnan(warm["z_ofi"])]
    later = np.concatenate([piece.batches[SYMBOL].events for piece in slices[at + 1 :] if SYMBOL in piece.batches])
    resumed_ns = later["ts_ns"][later["kind"] == QUOTE][0]
    ends = warm["bucket_end_ns"]
    touched = [end for end in ends if end + 100 * MS >= slices[at].clock_ns and end - S // 2 < resumed_ns]
    assert unknown.tolist() == touched
    assert 5 <= len(touched) <= 7
    assert [record.counts["gaps"] for record in records if record.arm == CANARY] == [0] * 6 + [1] + [0] * 2
    assert set(warm["gaps"][[0, -1]]) == {0, 1}


def test_a_gap_leaves_no_mid_until_the_next_quote() -> None:
    folding = fold_of()
    pieces = [EventBatch.of([quote()], MIDDLE), gap_at(MIDDLE + S), EventBatch.of([quote(bid_px=97.0)], MIDDLE + 2 * S)]
    records = records_of(folding, [Slice(T0 + n * S, T0 + (n + 1) * S, {SYMBOL: p}) for n, p in enumerate(pieces)])

    assert [record.mid for record in records if record.arm == CANARY] == [100.0, None, 99.0]


def test_a_gap_in_one_symbol_leaves_the_others_alone() -> None:
    folding = fold_of(None, ETH, Instrument(OTHER))
    both = {symbol: EventBatch.of([quote()], MIDDLE) for symbol in (SYMBOL, OTHER)}
    records = records_of(folding, [Slice(T0, T0 + S, both), Slice(T0 + S, T0 + 2 * S, {SYMBOL: gap_at(MIDDLE + S)})])

    last = {record.symbol: record for record in records if record.arm == CANARY}
    assert (last[SYMBOL].counts["gaps"], last[OTHER].counts["gaps"]) == (1, 0)
    assert (last[SYMBOL].mid, last[OTHER].mid) == (None, 100.0)


@pytest.mark.parametrize(
    ("crossed", "mid"),
    [
        pytest.param(MAX_CROSSED_RUN, 100.0, id="five in a row"),
        pytest.param(MAX_CROSSED_RUN + 1, None, id="more than five in a row"),
    ],
)
def test_too_many_crossed_quotes_in_a_row_leave_no_mid(crossed: int, mid: float | None) -> None:
    row = counted(quote(), *[quote(bid_px=102.0)] * crossed)

    assert (row["crossed"], row["mid"]) == (crossed, mid)


def deployment(params: StrategyParams, epoch: int = 1, stage: str = "10pct") -> Deployment:
    return Deployment("r", stage, epoch, fingerprint(params), canonical_json(params), (SYMBOL,))


def host() -> Host:
    return Host([ETH], MEASUREMENT, params_with(), WIDE_CAPS)


CHANGED = params_with({"paper.fee_bps": 3.0})


def played(seconds: int, *changes: tuple[int, Deployment]) -> list[WindowRecord]:
    """The canary's windows, with deployments after the slices of these times."""
    served, records = host(), []
    for piece in market(seconds):
        records += served.consume(piece)
        for after_ns, wanted in changes:
            if piece.clock_ns == T0 + after_ns:
                served.apply(wanted)
    return records


def of(arm: str, records: Sequence[WindowRecord]) -> list[WindowRecord]:
    return [record for record in records if record.arm == arm]


OLD, NEW = fingerprint(params_with()), fingerprint(CHANGED)


def test_a_change_inside_a_window_leaves_it_without_a_fingerprint() -> None:
    records = played(3, (1500 * MS, deployment(CHANGED)))

    assert [record.fingerprint for record in of(CANARY, records)] == [OLD, None, NEW]
    assert [record.fingerprint for record in of(BASELINE, records)] == [OLD, OLD, OLD]


def test_a_change_on_the_edge_of_a_window_mixes_nothing() -> None:
    records = played(3, (S, deployment(CHANGED)))

    assert [record.fingerprint for record in of(CANARY, records)] == [OLD, NEW, NEW]
    assert [record.live for record in of(CANARY, records)] == [False, True, True]


def test_changing_there_and_back_inside_a_window_still_leaves_it_without_a_fingerprint() -> None:
    records = played(2, (1200 * MS, deployment(CHANGED)), (1600 * MS, deployment(params_with())))

    assert [record.fingerprint for record in of(CANARY, records)] == [OLD, None]


def test_a_window_is_stamped_with_what_was_in_force_when_it_started() -> None:
    first, second, third = (deployment(params_with(), epoch=n, stage=f"{n}0pct") for n in (1, 2, 3))
    records = played(4, (S, first), (2300 * MS, second), (2700 * MS, third))

    assert [record.stage for record in of(CANARY, records)] == [None, "10pct", "10pct", "30pct"]
    assert [record.live for record in of(CANARY, records)] == [False, True, True, True]
    assert [record.live for record in of(BASELINE, records)] == [True, False, False, False]


def test_the_mode_changes_nothing_about_the_other_arm() -> None:
    served, other = host(), host()
    served.apply(deployment(params_with({"mode": "active", "active.ofi.bucket_ms": 50})))

    rows = [
        [
            record.to_row(MEASUREMENT) | {"live": None, "stage": None, "rollout_id": None}
            for record in of(BASELINE, records_of(it, market(10)))
        ]
        for it in (served, other)
    ]

    assert rows[0] == rows[1]


def test_z_of_the_other_arm_is_the_same_bit_for_bit_across_a_change() -> None:
    served, other = host(), host()
    for piece in market(10):
        served.consume(piece)
        other.consume(piece)
        if piece.clock_ns == T0 + 5 * S:
            served.apply(deployment(params_with({"active.ofi.z.window": 50, "quiet.ofi.bucket_ms": 250})))

    published = [it.folding.memory.market[0]["arms"]["published"] for it in (served, other)]
    assert published[0][BASELINE_ARM].tobytes() == published[1][BASELINE_ARM].tobytes()
    assert published[0][CANARY_ARM].tobytes() != published[1][CANARY_ARM].tobytes()


def test_a_switch_reads_the_flow_on_the_grid_of_the_new_mode_after_a_freeze() -> None:
    served = host()
    for piece in market(8):
        served.consume(piece)
        if piece.clock_ns == T0 + 5 * S:
            pinned = {"mode": "quiet", "quiet.ofi.bucket_ms": 250, "quiet.ofi.freeze_ms": 1000}
            served.apply(deployment(params_with(pinned)))

    arm = served.folding.memory.market[0]["arms"][CANARY_ARM]
    rows = arm["published"][: arm["signal_count"]]
    after = rows[rows["epoch"] == 1]
    ends = (after["bucket_end_ns"] - T0) // MS
    assert ends.tolist() == list(range(5000, 8000 - 100, 250))
    assert ends[np.isnan(after["z_ofi"])].tolist() == [end for end in ends if end + 100 < 6000]
    assert np.isnan(rows["z_ofi"][rows["bucket_end_ns"] > T0 + 4 * S]).sum() == np.isnan(after["z_ofi"]).sum()


def test_new_parameters_restart_counting_towards_a_switch() -> None:
    records = played(7, (3 * S, deployment(CHANGED)))

    modes = {arm: [record.mode for record in of(arm, records)].index("active") for arm in ARMS}
    assert modes == {BASELINE: 3, CANARY: 5}


def test_silent_minutes_do_not_break_windows() -> None:
    folding = fold_of()
    records_of(folding, market(2))
    later_ns = T0 + 182 * S
    late = EventBatch.of([BookTop(later_ns, 1999.0, 1.0, 2001.0, 1.0)])

    records = of(CANARY, folding.consume(Slice(T0 + 2 * S, later_ns, {SYMBOL: late})))

    assert [record.window_start_ns for record in records] == [T0 + second * S for second in range(2, 182)]
    assert all(record.window_end_ns - record.window_start_ns == S for record in records)
    assert [record.counts["quotes"] for record in records] == [0] * 179 + [1]


def test_a_pause_in_slices_gives_the_same_records_as_empty_slices() -> None:
    ends = [T0 + 2 * S + tick * TICK_NS for tick in range(5 * 20 + 1)]
    whole = rows_of(market(2) + [Slice(start, end, {}) for start, end in pairwise(ends)])

    assert rows_of([*market(2), Slice(ends[0], ends[-1], {})]) == whole


def test_a_window_that_was_not_heard_from_its_start_gives_no_record() -> None:
    slices = [piece for piece in market(3) if piece.from_ns >= T0 + 300 * MS]

    records = records_of(fold_of(), slices)

    assert [record.window_start_ns for record in of(CANARY, records)] == [T0 + S, T0 + 2 * S]


def test_results_start_again_with_each_window_and_the_position_stays() -> None:
    folding = fold_of()
    folding.consume(Slice(T0, T0 + S, {}))
    arm = folding.memory.market[0]["arms"][CANARY_ARM]
    arm["position"], arm["wanted"], arm["equity_bps"], arm["peak_bps"] = 1, 1, -7.0, 3.0
    for name in ("gross_bps", "fees_bps", "turnover", "max_drawdown_bps", "refused", "capped"):
        arm["window"][name] = 5.0

    records = records_of(folding, [Slice(T0 + n * S, T0 + (n + 1) * S, {}) for n in (1, 2)])

    first, second = (record.paper() for record in of(CANARY, records))
    assert (first["gross_pnl_bps"], first["turnover"], first["orders_capped"]) == (5.0, 5.0, 5)
    assert set(second.values()) == {0}
    assert (arm["position"], arm["peak_bps"]) == (1, -7.0)


@pytest.mark.parametrize(
    ("dry_run", "modes"),
    [
        pytest.param(False, ["quiet"] * 3 + ["active"] * 3, id="for real"),
        pytest.param(True, ["quiet"] * 6, id="dry run"),
    ],
)
def test_busy_windows_in_a_row_make_a_symbol_active(dry_run: bool, modes: list[str]) -> None:
    folding = fold_of(params_with({"dry_run": dry_run}))

    records = records_of(folding, market(6))

    # The first window has no return yet, so the third busy one ends after four seconds.
    assert [record.mode for record in of(CANARY, records)] == modes
    assert [(symbol, arm) for symbol, arm, _ in folding.transitions] == [(SYMBOL, arm) for arm in ARMS]
    for _, _, transition in folding.transitions:
        assert (transition.at_ns, transition.after, transition.reason) == (T0 + 4 * S, Mode.ACTIVE, Reason.MARKET)
        assert transition.is_dry_run is dry_run
    assert [int(record.window["transitions"]) for record in of(CANARY, records)] == [0, 0, 0, not dry_run, 0, 0]


def test_a_block_trade_is_not_activity() -> None:
    block = Trade(T0 + 700 * MS, 2000.0, 1e6, 1)

    def volume(*more: Event) -> float:
        folding = fold_of()
        for piece in market(1):
            events = piece.batches[SYMBOL].events
            if piece.clock_ns == T0 + 700 * MS:
                events = np.concatenate([events, EventBatch.of(more, piece.clock_ns).events])
            folding.consume(Slice(piece.from_ns, piece.clock_ns, {SYMBOL: EventBatch(events)}))
        return folding.seen[0, CANARY_ARM].volume_usd

    assert volume(block) == pytest.approx(volume(), rel=0.25)
    assert volume() > 1e5


def test_a_market_window_that_was_not_heard_from_its_start_is_not_judged() -> None:
    folding = fold_of()
    slices = [piece for piece in market(3) if piece.from_ns >= T0 + 300 * MS]
    judged = []
    for piece in slices:
        folding.consume(piece)
        judged.append(bool(folding.seen))

    assert next(piece.clock_ns for piece, seen in zip(slices, judged, strict=True) if seen) == T0 + 2 * S


def test_a_market_window_of_another_length_is_judged_on_its_own_grid_once_it_was_heard_whole() -> None:
    served, judged, last = host(), [], None
    for piece in market(6):
        served.consume(piece)
        if piece.clock_ns == T0 + 1500 * MS:
            served.apply(deployment(params_with({"market.window_secs": 2.0})))
        if served.folding.seen.get((0, CANARY_ARM)) is not last:
            last = served.folding.seen[0, CANARY_ARM]
            judged.append(piece.clock_ns - T0)

    assert judged == [S, 4 * S, 6 * S]


def test_volatility_is_that_of_one_second_returns_scaled_to_a_minute() -> None:
    folding = fold_of()
    mids = [100.0, 101.0, 100.5]
    quotes = [BookTop(T0 + n * S - MS, mid - 0.1, 1.0, mid + 0.1, 1.0) for n, mid in enumerate(mids, start=1)]
    records = folding.consume(Slice(T0, T0 + 3 * S, {SYMBOL: EventBatch.of(quotes)}))

    expected = [None, *(abs(math.log(b / a)) * math.sqrt(60) * 1e4 for a, b in pairwise(mids))]
    assert [record.volatility_bps for record in of(CANARY, records)] == pytest.approx(expected)
