"""What paper trading earns and refuses."""

import pytest

from engine.strategy.paper import PaperAccount
from engine.strategy.params import PaperParams, RiskParams
from tests.making import MS, T0, S


def account(fee_bps: float = 0.0, latency_ms: int = 100, rate: int = 60, limit: float = 0.5) -> PaperAccount:
    return PaperAccount(PaperParams(fee_bps, latency_ms), RiskParams(limit, rate))


def test_a_purchase_is_filled_at_the_ask_of_the_first_quote_after_the_latency() -> None:
    paper = account()
    paper.on_quote(T0, 99.0, 101.0)
    paper.want(1, T0)
    paper.on_quote(T0 + 99 * MS, 99.0, 101.0)
    early = paper.position

    paper.on_quote(T0 + 100 * MS, 99.0, 101.0)

    assert (early, paper.position) == (0, 1)
    assert paper.take_results()["gross_pnl_bps"] == pytest.approx(-100.0)


def test_a_sale_is_filled_at_the_bid() -> None:
    paper = account()
    paper.want(-1, T0)
    paper.on_quote(T0 + S, 99.0, 101.0)
    paper.on_quote(T0 + 2 * S, 89.0, 91.0)

    assert paper.position == -1
    assert paper.take_results()["gross_pnl_bps"] == pytest.approx(-100.0 + 1000.0)


def test_the_quote_it_was_decided_on_is_never_the_one_it_is_filled_at() -> None:
    paper = account()
    paper.on_quote(T0, 100.0, 100.2)
    paper.want(1, T0)

    paper.on_quote(T0 + S, 110.0, 110.2)

    assert paper.take_results()["gross_pnl_bps"] == pytest.approx(-(110.2 / 110.1 - 1) * 1e4)


def test_a_round_trip_loses_the_spread_and_two_fees() -> None:
    paper = account(fee_bps=2.0)
    paper.want(1, T0)
    paper.on_quote(T0 + S, 99.0, 101.0)
    paper.want(0, T0 + 2 * S)
    paper.on_quote(T0 + 3 * S, 99.0, 101.0)

    results = paper.take_results()
    assert results["gross_pnl_bps"] == pytest.approx(-200.0)
    assert results["fees_bps"] == pytest.approx(4.0)
    assert results["pnl_bps"] == pytest.approx(-204.0)
    assert results["turnover"] == 2
    assert results["orders"] == 2


def test_a_reversal_trades_two_units_and_pays_for_both() -> None:
    paper = account(fee_bps=1.0)
    paper.want(1, T0)
    paper.on_quote(T0 + S, 99.0, 101.0)
    paper.take_results()
    paper.want(-1, T0 + 2 * S)
    paper.on_quote(T0 + 3 * S, 99.0, 101.0)

    results = paper.take_results()
    assert results["turnover"] == 2
    assert results["fees_bps"] == pytest.approx(2.0)
    assert results["gross_pnl_bps"] == pytest.approx(-200.0)


def test_orders_beyond_the_rate_limit_are_refused_and_counted() -> None:
    paper = account(rate=2)
    paper.want(1, T0)
    paper.want(0, T0 + S)
    paper.want(1, T0 + 2 * S)

    results = paper.take_results()
    assert (results["orders"], results["orders_refused"]) == (2, 1)


def test_the_rate_limit_frees_an_order_after_a_minute() -> None:
    paper = account(rate=1)
    paper.want(1, T0)
    paper.want(0, T0 + 60 * S - 1)
    paper.want(0, T0 + 60 * S)

    results = paper.take_results()
    assert (results["orders"], results["orders_refused"]) == (2, 1)


def test_wanting_what_is_already_wanted_is_no_order() -> None:
    paper = account(rate=1)
    for second in range(10):
        paper.want(1, T0 + second * S)

    results = paper.take_results()
    assert (results["orders"], results["orders_refused"]) == (1, 0)


@pytest.mark.parametrize(
    ("mids", "drawdown"),
    [
        pytest.param([100, 101, 102], 0.0, id="only gains"),
        pytest.param([100, 90], 1000.0, id="one loss"),
        pytest.param([100, 110, 99, 110], 1000.0, id="a loss that recovers"),
        pytest.param([100, 95, 95 * 0.9], 1500.0, id="losses add up"),
    ],
)
def test_drawdown_is_the_deepest_fall_from_a_peak(mids: list[float], drawdown: float) -> None:
    paper = account()
    paper.want(1, T0)
    for second, mid in enumerate(mids, start=1):
        paper.on_quote(T0 + second * S, mid, mid)

    assert paper.take_results()["max_drawdown_bps"] == pytest.approx(drawdown)


def test_a_fee_is_part_of_the_drawdown() -> None:
    paper = account(fee_bps=3.0)
    paper.want(1, T0)
    paper.on_quote(T0 + S, 100.0, 100.0)

    assert paper.take_results()["max_drawdown_bps"] == pytest.approx(3.0)


def test_results_start_again_once_taken_and_the_position_stays() -> None:
    paper = account()
    paper.want(1, T0)
    paper.on_quote(T0 + S, 99.0, 101.0)
    paper.take_results()

    assert set(paper.take_results().values()) == {0}
    assert paper.position == 1


@pytest.mark.parametrize("limit", [0.01, 0.5, 1.0])
def test_profit_does_not_depend_on_the_position_limit(limit: float) -> None:
    def results(limit: float) -> dict[str, float]:
        paper = account(fee_bps=1.7, limit=limit)
        for second, (wanted, mid) in enumerate([(1, 100.0), (1, 103.0), (-1, 99.0), (0, 104.0), (0, 101.0)]):
            paper.want(wanted, T0 + second * S)
            paper.on_quote(T0 + second * S + 500 * MS, mid - 0.1, mid + 0.1)
        return paper.take_results()

    assert results(limit) == results(0.2)


def test_exposure_is_the_position_times_the_limit() -> None:
    paper = account(limit=0.25)
    paper.want(-1, T0)
    paper.on_quote(T0 + S, 99.0, 101.0)

    assert paper.exposure() == -0.25
