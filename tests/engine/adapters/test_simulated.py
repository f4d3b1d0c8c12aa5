"""The simulated market: reproducible, sound, labelled, and like the market it was calibrated on."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.market_calibration import SET_A, recorded, simulated
from engine.adapters.simulated import SimulatedMarket
from engine.adapters.simulated_calibration import CALIBRATIONS
from engine.clock import NS_PER_S
from engine.errors import FeedError
from engine.strategy.events import BOOK, TRADE, EventBatch, Row, Slice, is_sound_book, is_sound_trade, is_symbol
from engine.strategy.pipeline import TICK_NS

MIDNIGHT_NS = 1_723_161_600 * NS_PER_S
HOUR_NS = 3600 * NS_PER_S
MAJORS = ("BTCUSDT", "ETHUSDT")


def slices_of(
    seed: int = 7, tickers: Sequence[str] = MAJORS, start_ns: int = MIDNIGHT_NS, duration_s: float = 90.0
) -> list[Slice]:
    return list(SimulatedMarket(seed, tickers, start_ns, duration_s).slices())


def rows_of(slices: Sequence[Slice], symbol: str) -> list[Row]:
    return [row for slice_ in slices for row in slice_.batches.get(symbol, EventBatch([]))]


def test_the_same_seed_gives_the_same_events() -> None:
    assert slices_of(seed=7) == slices_of(seed=7)


def test_a_market_can_be_played_twice() -> None:
    market = SimulatedMarket(7, MAJORS, MIDNIGHT_NS, 30.0)

    assert list(market.slices()) == list(market.slices())


def test_another_seed_gives_other_events() -> None:
    assert slices_of(seed=7) != slices_of(seed=8)


def test_adding_a_ticker_does_not_change_the_events_of_another() -> None:
    alone = slices_of(tickers=["ETHUSDT"])
    together = slices_of(tickers=["SOLUSDT", "ETHUSDT", "BTCUSDT"])

    assert rows_of(together, "ETHUSDT.simulated") == rows_of(alone, "ETHUSDT.simulated")


def test_a_longer_run_begins_like_a_shorter_one() -> None:
    short, long = slices_of(duration_s=70.0), slices_of(duration_s=130.0)

    assert long[: len(short)] == short


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
        for batch in each.batches.values():
            times = [row[1] for row in batch]
            assert times == sorted(times)
            assert each.clock_ns - TICK_NS < times[0] <= times[-1] <= each.clock_ns


@pytest.mark.parametrize("ticker", CALIBRATIONS)
def test_rows_are_sound_and_trades_happen_at_the_best_price(ticker: str) -> None:
    rows = rows_of(slices_of(tickers=[ticker], duration_s=130.0), f"{ticker}.simulated")

    assert rows[0][0] == BOOK
    bid_px = ask_px = 0.0
    for kind, _, a, b, c, d, trade_id in rows:
        if kind == TRADE:
            assert is_sound_trade(a, b, c)
            assert a == (ask_px if c > 0 else bid_px)
        else:
            assert is_sound_book(a, b, c, d)
            assert a < c
            assert trade_id == -1
            bid_px, ask_px = a, c


@pytest.mark.parametrize("ticker", CALIBRATIONS)
def test_prices_and_quantities_lie_on_the_grid(ticker: str) -> None:
    units, lots = CALIBRATIONS[ticker].ticks_per_unit, CALIBRATIONS[ticker].lots_per_unit
    rows = rows_of(slices_of(tickers=[ticker], duration_s=60.0), f"{ticker}.simulated")

    prices = [px for row in rows for px in ((row[2],) if row[0] == TRADE else (row[2], row[4]))]
    quantities = [qty for row in rows for qty in ((row[3],) if row[0] == TRADE else (row[3], row[5]))]

    assert all(price == round(price * units) / units for price in prices)
    assert all(qty == round(qty * lots) / lots for qty in quantities)


def test_trade_ids_rise_by_one() -> None:
    rows = rows_of(slices_of(duration_s=130.0), "BTCUSDT.simulated")

    ids = [row[6] for row in rows if row[0] == TRADE]

    assert all(later == earlier + 1 for earlier, later in itertools.pairwise(ids))


def test_rows_hold_plain_numbers() -> None:
    rows = rows_of(slices_of(duration_s=5.0), "BTCUSDT.simulated")

    kinds = {tuple(type(value) for value in row) for row in rows}

    assert kinds == {(int, int, float, float, float, float, int)}


@pytest.mark.parametrize("ticker", MAJORS)
def test_busy_hours_have_more_trades_and_move_more_than_quiet_ones(ticker: str) -> None:
    trades, moved = [], []
    for hour in (14, 6):
        symbol = f"{ticker}.simulated"
        rows = rows_of(slices_of(tickers=[ticker], start_ns=MIDNIGHT_NS + hour * HOUR_NS, duration_s=600.0), symbol)
        bids = [row[2] for row in rows if row[0] == BOOK]
        trades.append(sum(row[0] == TRADE for row in rows))
        moved.append(sum(abs(later - earlier) for earlier, later in itertools.pairwise(bids)))

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
