"""The simulated market: reproducible, sound, labelled, and like the market it was calibrated on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.market_calibration import SET_A, recorded, simulated
from engine.adapters.simulated import SimulatedMarket
from engine.adapters.simulated_calibration import CALIBRATIONS
from engine.clock import NS_PER_MS, NS_PER_S
from engine.errors import FeedError
from engine.strategy.events import TICK_NS, Slice, is_symbol
from engine.strategy.layout import EVENT, QUOTE, TRADE

MIDNIGHT_NS = 1_723_161_600 * NS_PER_S
HOUR_NS = 3600 * NS_PER_S
MAJORS = ("BTCUSDT", "ETHUSDT")


def slices_of(
    seed: int = 7, tickers: Sequence[str] = MAJORS, start_ns: int = MIDNIGHT_NS, duration_s: float = 90.0
) -> list[Slice]:
    return list(SimulatedMarket(seed, tickers, start_ns, duration_s).slices())


def events_of(slices: Sequence[Slice], symbol: str) -> np.ndarray[Any, Any]:
    """All events of one symbol."""
    return np.concatenate([piece.batches[symbol].events for piece in slices if symbol in piece.batches])


def bytes_of(slices: Sequence[Slice]) -> list[Any]:
    """Slices in a form that compares."""
    return [
        (piece.from_ns, piece.clock_ns, {symbol: batch.events.tobytes() for symbol, batch in piece.batches.items()})
        for piece in slices
    ]


def test_the_same_seed_gives_the_same_events() -> None:
    assert bytes_of(slices_of(seed=7)) == bytes_of(slices_of(seed=7))


def test_a_market_can_be_played_twice() -> None:
    market = SimulatedMarket(7, MAJORS, MIDNIGHT_NS, 30.0)

    assert bytes_of(list(market.slices())) == bytes_of(list(market.slices()))


def test_another_seed_gives_other_events() -> None:
    assert bytes_of(slices_of(seed=7)) != bytes_of(slices_of(seed=8))


def test_adding_a_ticker_does_not_change_the_events_of_another() -> None:
    alone = slices_of(tickers=["ETHUSDT"])
    together = slices_of(tickers=["SOLUSDT", "ETHUSDT", "BTCUSDT"])

    assert events_of(together, "ETHUSDT.simulated").tobytes() == events_of(alone, "ETHUSDT.simulated").tobytes()


def test_a_longer_run_begins_like_a_shorter_one() -> None:
    short, long = slices_of(duration_s=70.0), slices_of(duration_s=130.0)

    assert bytes_of(long[: len(short)]) == bytes_of(short)


@pytest.mark.parametrize("ticks", [3, 5, 20, 60, 10_000])
@pytest.mark.parametrize("start_ns", [MIDNIGHT_NS, MIDNIGHT_NS + 350 * NS_PER_MS])
def test_the_step_of_slices_changes_no_event(ticks: int, start_ns: int) -> None:
    market, step_ns = SimulatedMarket(7, MAJORS, start_ns, 90.0), ticks * TICK_NS
    by_ticks, by_steps = list(market.slices()), list(market.slices(step_ns))

    for ticker in MAJORS:
        symbol = f"{ticker}.simulated"
        assert events_of(by_steps, symbol).tobytes() == events_of(by_ticks, symbol).tobytes()
    assert [piece.from_ns for piece in by_steps[1:]] == [piece.clock_ns for piece in by_steps[:-1]]
    assert (by_steps[0].from_ns, by_steps[-1].clock_ns) == (market.start_ns - TICK_NS, market.end_ns)
    chunk_ends = {market.start_ns, market.start_ns + 60 * NS_PER_S, market.end_ns}
    assert all(piece.clock_ns % step_ns == 0 for piece in by_steps if piece.clock_ns not in chunk_ends)


def test_every_symbol_says_that_it_is_simulated() -> None:
    market = SimulatedMarket(7, list(CALIBRATIONS), MIDNIGHT_NS, 1.0)

    assert market.simulated
    assert market.name == "simulated market, seed 7"
    assert all(is_symbol(each.symbol) and each.symbol.endswith(".simulated") for each in market.instruments())


def test_every_slice_is_on_the_tick_and_its_events_lie_within_it() -> None:
    market = SimulatedMarket(7, MAJORS, MIDNIGHT_NS + 1, 90.0)

    slices = list(market.slices())

    assert market.common_span_ns() == (market.start_ns, market.end_ns)
    assert [each.clock_ns for each in slices] == list(range(market.start_ns, market.end_ns + 1, TICK_NS))
    assert market.start_ns % TICK_NS == 0
    for each in slices:
        assert each.from_ns == each.clock_ns - TICK_NS
        for batch in each.batches.values():
            times = batch.events["arrival_ns"].tolist()
            assert batch.events.dtype == EVENT
            assert times == sorted(times) == batch.events["ts_ns"].tolist()
            assert each.from_ns < times[0] <= times[-1] <= each.clock_ns


@pytest.mark.parametrize("ticker", CALIBRATIONS)
def test_events_are_sound_and_trades_happen_at_the_best_price(ticker: str) -> None:
    events = events_of(slices_of(tickers=[ticker], duration_s=130.0), f"{ticker}.simulated")

    assert events["kind"][0] == QUOTE
    bid_px = ask_px = 0.0
    for kind, _, _, event_id, a, b, c, d in events.tolist():
        if kind == TRADE:
            assert a == (ask_px if c > 0 else bid_px)
            assert b > 0.0
            assert (abs(c), d) == (1.0, 0.0)
        else:
            assert (kind, event_id) == (QUOTE, -1)
            assert 0.0 < a < c < float("inf")
            assert min(b, d) > 0.0
            bid_px, ask_px = a, c


@pytest.mark.parametrize("ticker", CALIBRATIONS)
def test_prices_and_quantities_lie_on_the_grid(ticker: str) -> None:
    units, lots = CALIBRATIONS[ticker].ticks_per_unit, CALIBRATIONS[ticker].lots_per_unit
    events = events_of(slices_of(tickers=[ticker], duration_s=60.0), f"{ticker}.simulated")

    quotes = events[events["kind"] == QUOTE]
    for values, grid in ((events["a"], units), (quotes["c"], units), (events["b"], lots), (quotes["d"], lots)):
        assert len(values) > 0
        assert (values == np.rint(values * grid) / grid).all()


def test_trade_ids_rise_by_one() -> None:
    events = events_of(slices_of(duration_s=130.0), "BTCUSDT.simulated")

    ids = events["id"][events["kind"] == TRADE]

    assert len(ids) > 100
    assert set(np.diff(ids).tolist()) == {1}


@pytest.mark.parametrize("ticker", MAJORS)
def test_busy_hours_have_more_trades_and_move_more_than_quiet_ones(ticker: str) -> None:
    trades, moved = [], []
    for hour in (14, 6):
        symbol = f"{ticker}.simulated"
        slices = slices_of(tickers=[ticker], start_ns=MIDNIGHT_NS + hour * HOUR_NS, duration_s=600.0)
        events = events_of(slices, symbol)
        trades.append(int((events["kind"] == TRADE).sum()))
        moved.append(float(np.abs(np.diff(events["a"][events["kind"] == QUOTE])).sum()))

    assert trades[0] > 2 * trades[1]
    assert moved[0] > 2 * moved[1]


def test_an_unknown_ticker_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(FeedError, match=r"'PEPEUSDT' is not known; known are BTCUSDT, ETHUSDT, SOLUSDT"):
        SimulatedMarket(7, ["BTCUSDT", "PEPEUSDT"], MIDNIGHT_NS, 60.0)


@pytest.mark.parametrize(
    ("seed", "tickers", "duration_s", "sentence"),
    [
        pytest.param(7, [], 60.0, "no tickers were given", id="no tickers"),
        pytest.param(-1, ["BTCUSDT"], 60.0, "seed must be >= 0, was -1", id="negative seed"),
        pytest.param(7, ["BTCUSDT"], 0.01, "at least one tick", id="shorter than a tick"),
    ],
)
def test_a_market_that_cannot_be_is_refused(seed: int, tickers: list[str], duration_s: float, sentence: str) -> None:
    with pytest.raises(FeedError, match=sentence):
        SimulatedMarket(seed, tickers, MIDNIGHT_NS, duration_s)


@pytest.mark.slow
@pytest.mark.parametrize("ticker", MAJORS)
def test_fresh_flow_predicts_and_old_flow_hardly_does(ticker: str) -> None:
    found = simulated((1, 2, 3))[f"{ticker}.simulated"]
    fresh, late, old = (found[f"IC 0.5 s ahead, {delay} s delay"] for delay in ("0.3", "1", "3"))

    assert fresh > 0.10
    assert fresh > 1.5 * late
    assert abs(old) < 0.08


RATIOS = {
    "trades per s": 1.3,
    "trade instants per s": 1.3,
    "instants 100 ms variance / mean": 1.6,
    "quotes per s": 1.2,
    "quotes 100 ms variance / mean": 1.8,
    "spread ticks mean": 1.5,
    "quotes that move the mid": 1.5,
    "depth median": 1.2,
    "depth P95": 1.2,
    "trade size median": 1.2,
    "trade size P99": 1.3,
    "mid return sd 1 s, bps": 1.3,
    "mid return sd 10 s, bps": 1.5,
}
"""How many times larger or smaller the simulated value may be."""

DISTANCES = {
    "spread share of 1 tick": 0.03,
    "log bid, ask depth correlation": 0.12,
    "trade sign acf lag 1": 0.1,
    "trade sign acf lag 10": 0.15,
    "flow 100 ms acf lag 1": 0.12,
    "R2 flow, 1 s": 0.2,
    "R2 flow, 10 s": 0.25,
    "R2 trades, 1 s": 0.2,
}
"""How far the simulated value may lie: four minutes of set A tell them no better."""


@pytest.fixture(scope="module")
def set_a() -> Path:
    if not SET_A.is_dir():
        pytest.skip("the recorded set A is absent: ../shared/market is not there")
    return SET_A


@pytest.mark.slow
def test_statistics_lie_near_those_of_set_a(set_a: Path) -> None:
    real, made = recorded(set_a), simulated((1, 2, 3, 4))

    far = []
    for ticker in MAJORS:
        a, b = real[f"{ticker}.binance_usdm"], made[f"{ticker}.simulated"]
        for name, most in RATIOS.items():
            if not 1 / most < b[name] / a[name] < most:
                far.append((ticker, name, a[name], b[name]))
        for name, most in DISTANCES.items():
            if not abs(b[name] - a[name]) < most:
                far.append((ticker, name, a[name], b[name]))

    assert far == []
