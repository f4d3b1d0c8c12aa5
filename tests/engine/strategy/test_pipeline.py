"""Events to window records: reproducible, counted, and never mixed."""

import math
import random
from typing import Any

import pytest

from engine.strategy.events import BookTop, Event, EventBatch, Instrument, Slice, Trade
from engine.strategy.host import Deployment, Host
from engine.strategy.params import StrategyParams, canonical_json, fingerprint
from engine.strategy.pipeline import BASELINE, CANARY, TICK_NS, SymbolPipeline
from engine.strategy.records import WindowRecord
from tests.making import MEASUREMENT, MS, T0, S, params_with

SYMBOL = "ETHUSDT.binance_usdm"
ETH = Instrument(SYMBOL)
NAN = float("nan")
INF = float("inf")


def market(seconds: int, seed: int = 1) -> list[tuple[int, EventBatch]]:
    """A random walk of quotes with trades, one batch per tick."""
    dice = random.Random(seed)
    mid, trade_id, batches = 2000.0, 0, []
    for tick in range(1, seconds * 20 + 1):
        clock_ns, events = T0 + tick * TICK_NS, []
        for _ in range(dice.randint(0, 4)):
            mid += dice.gauss(0, 0.05)
            ts = clock_ns - dice.randint(0, 40) * MS
            events.append(BookTop(ts, mid - 0.05, dice.uniform(1, 9), mid + 0.05, dice.uniform(1, 9)))
            if dice.random() < 0.7:
                trade_id += 1
                events.append(Trade(ts, mid, dice.uniform(0.1, 2), dice.choice([1, -1]), trade_id))
        batches.append((clock_ns, EventBatch.of(events)))
    return batches


def fold(pipeline: SymbolPipeline, batches: list[tuple[int, EventBatch]]) -> list[WindowRecord]:
    return [record for clock_ns, batch in batches for record in pipeline.consume(clock_ns, batch)]


def rows_of(batches: list[tuple[int, EventBatch]], params: StrategyParams | None = None) -> list[dict[str, Any]]:
    records = fold(SymbolPipeline(ETH, MEASUREMENT, params or params_with()), batches)
    return [record.to_row(MEASUREMENT) for record in records]


def counted(*events: Event, instrument: Instrument = ETH) -> dict[str, Any]:
    """The baseline's row of one window in which only these events happened."""
    pipeline = SymbolPipeline(instrument, MEASUREMENT, params_with())
    batches = [(T0 + TICK_NS, EventBatch.of([])), (T0 + S // 2, EventBatch.of(events)), (T0 + S, EventBatch.of([]))]
    return fold(pipeline, batches)[0].to_row(MEASUREMENT)


def quote(bid_px: float = 99.0, bid_qty: float = 1.0, ask_px: float = 101.0, ask_qty: float = 1.0) -> BookTop:
    return BookTop(T0 + S // 2, bid_px, bid_qty, ask_px, ask_qty)


def trade(price: float = 100.0, qty: float = 1.0, aggressor: int = 1, trade_id: int = -1) -> Trade:
    return Trade(T0 + S // 2, price, qty, aggressor, trade_id)


def test_the_same_slices_give_identical_rows() -> None:
    rows = rows_of(market(20))

    assert rows == rows_of(market(20))
    assert len(rows) == 2 * 20
    assert any(row["z_ofi_n"] and row["z_cvd_n"] for row in rows)


def test_other_slices_give_other_rows() -> None:
    assert rows_of(market(5, seed=1)) != rows_of(market(5, seed=2))


def test_arms_with_the_same_parameters_give_identical_rows() -> None:
    rows = rows_of(market(20), params_with({"hysteresis.min_active_windows": 1, "paper.latency_ms": 0}))

    mine = [[{**row, "arm": ""} for row in rows if row["arm"] == arm] for arm in (BASELINE, CANARY)]
    assert mine[0] == mine[1]
    assert sum(row["orders"] for row in mine[0]) > 0


@pytest.mark.parametrize(
    ("instrument", "notional"),
    [
        pytest.param(ETH, lambda price, qty: price * qty, id="linear"),
        pytest.param(Instrument("ETHUSD_PERP.binance_coinm", 10.0), lambda price, qty: 10.0 * qty, id="inverse"),
    ],
)
def test_cvd_is_the_signed_sum_of_notional(instrument: Instrument, notional: Any) -> None:
    pipeline = SymbolPipeline(instrument, MEASUREMENT, params_with())
    batches = market(10)
    fold(pipeline, batches)

    expected = math.fsum(c * notional(a, b) for _, batch in batches for kind, _, a, b, c, _, _ in batch if kind == 0)
    assert pipeline.arms[CANARY].cvd.cvd == pytest.approx(expected, rel=1e-9)


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


def test_a_duplicate_is_not_in_cvd() -> None:
    pipeline = SymbolPipeline(ETH, MEASUREMENT, params_with())
    pipeline.consume(T0 + TICK_NS, EventBatch.of([trade(trade_id=1), trade(trade_id=1)]))

    assert pipeline.arms[BASELINE].cvd.cvd == 100.0


@pytest.mark.parametrize(
    ("event", "column"),
    [
        pytest.param(trade(price=NAN), "refused", id="trade price is no number"),
        pytest.param(trade(price=-1.0), "refused", id="trade price is negative"),
        pytest.param(trade(price=0.0), "refused", id="trade price is zero"),
        pytest.param(trade(price=INF), "refused", id="trade price is infinite"),
        pytest.param(trade(qty=NAN), "refused", id="trade quantity is no number"),
        pytest.param(trade(qty=0.0), "refused", id="trade quantity is zero"),
        pytest.param(trade(aggressor=0), "refused", id="side is unknown"),
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


def test_a_refused_quote_leaves_the_book_as_it_was() -> None:
    row = counted(quote(), quote(bid_px=NAN), quote(bid_px=200.0))

    assert row["mid"] == 100.0
    assert (row["quotes"], row["refused"], row["crossed"]) == (1, 1, 1)


def test_flow_older_than_the_ring_is_counted_as_late() -> None:
    old = BookTop(T0 - 40 * S, 99.0, 5.0, 101.0, 1.0)

    assert counted(quote(), quote(bid_qty=2.0), old)["late"] == 1


def deployment(params: StrategyParams, epoch: int = 1, stage: str = "10pct") -> Deployment:
    return Deployment("r", stage, epoch, fingerprint(params), canonical_json(params), (SYMBOL,))


CHANGED = params_with({"paper.fee_bps": 3.0})


def played(change_after_ns: int) -> tuple[Host, list[WindowRecord]]:
    """Three windows, with a parameter change after the slice of that time."""
    host, records = Host([ETH], MEASUREMENT, params_with()), []
    for clock_ns, batch in market(3):
        records += host.consume(Slice(clock_ns, {SYMBOL: batch}))
        if clock_ns == T0 + change_after_ns:
            host.apply(deployment(CHANGED))
    return host, records


def test_a_change_inside_a_window_leaves_it_without_a_fingerprint() -> None:
    _, records = played(change_after_ns=1500 * MS)

    old, new = fingerprint(params_with()), fingerprint(CHANGED)
    assert [record.fingerprint for record in records if record.arm == CANARY] == [old, None, new]
    assert [record.fingerprint for record in records if record.arm == BASELINE] == [old, old, old]


def test_a_change_on_the_edge_of_a_window_mixes_nothing() -> None:
    _, records = played(change_after_ns=S)

    old, new = fingerprint(params_with()), fingerprint(CHANGED)
    assert [record.fingerprint for record in records if record.arm == CANARY] == [old, new, new]
    assert [record.live for record in records if record.arm == CANARY] == [False, True, True]


def test_changing_there_and_back_inside_a_window_still_leaves_it_without_a_fingerprint() -> None:
    host, records = Host([ETH], MEASUREMENT, params_with()), []
    for clock_ns, batch in market(2):
        records += host.consume(Slice(clock_ns, {SYMBOL: batch}))
        if clock_ns == T0 + 1200 * MS:
            host.apply(deployment(CHANGED))
        if clock_ns == T0 + 1600 * MS:
            host.apply(deployment(params_with()))

    assert [record.fingerprint for record in records if record.arm == CANARY] == [fingerprint(params_with()), None]


def test_a_window_is_stamped_with_what_was_in_force_when_it_started() -> None:
    host, records = Host([ETH], MEASUREMENT, params_with()), []
    host.apply(deployment(params_with(), stage="10pct"))
    for clock_ns, batch in market(3):
        records += host.consume(Slice(clock_ns, {SYMBOL: batch}))
        if clock_ns == T0 + 1500 * MS:
            host.apply(deployment(params_with(), epoch=2, stage="50pct"))

    assert [record.stage for record in records if record.arm == CANARY] == ["10pct", "10pct", "50pct"]


def test_the_mode_changes_nothing_about_the_other_arm() -> None:
    host, other = Host([ETH], MEASUREMENT, params_with()), Host([ETH], MEASUREMENT, params_with())
    host.apply(deployment(params_with({"mode": "active", "active.ofi.bucket_ms": 50})))

    rows = [
        [
            record.to_row(MEASUREMENT) | {"live": None, "stage": None, "rollout_id": None}
            for clock_ns, batch in market(10)
            for record in it.consume(Slice(clock_ns, {SYMBOL: batch}))
            if record.arm == BASELINE
        ]
        for it in (host, other)
    ]

    assert rows[0] == rows[1]


def test_silent_minutes_do_not_break_windows() -> None:
    pipeline = SymbolPipeline(ETH, MEASUREMENT, params_with())
    fold(pipeline, market(2))
    later_ns = T0 + 182 * S

    records = pipeline.consume(later_ns, EventBatch.of([BookTop(later_ns, 99.0, 1.0, 101.0, 1.0)]))

    starts = [record.window_start_ns for record in records if record.arm == CANARY]
    assert starts == [T0 + second * S for second in range(2, 182)]
    assert all(record.window_end_ns - record.window_start_ns == S for record in records)
    assert [record.counts.quotes for record in records if record.arm == CANARY] == [0] * 179 + [1]


def test_a_pause_in_slices_gives_the_same_records_as_empty_slices() -> None:
    silent = [(T0 + 2 * S + tick * TICK_NS, EventBatch.of([])) for tick in range(1, 20 * 5 + 1)]
    whole = rows_of(market(2) + silent)

    assert rows_of(market(2) + silent[-1:]) == whole
