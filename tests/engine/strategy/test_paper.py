"""What paper trading earns and refuses, and the caps that no parameters can change."""

from typing import Any

import numpy as np
import pytest

from engine.strategy.kernels.paper import on_quote, want
from engine.strategy.layout import ARM, CAPS, COUNTS, PARAMS
from engine.strategy.records import WindowRecord
from tests.making import MS, T0, S

ALLOCATION_USD = 100_000.0


class Account:
    """The paper account of one arm. Prices around 100, a position of half the allocation, no fees."""

    def __init__(self, fee_bps: float = 0.0, rate: int = 60, limit: float = 0.5, **caps: float) -> None:
        self.arm: Any = np.zeros(1, ARM)[0]
        self.params: Any = np.zeros(1, PARAMS)[0]
        self.params["fee_bps"], self.params["latency_ns"] = fee_bps, 100 * MS
        self.params["order_rate_limit"], self.params["position_limit"] = rate, limit
        self.params["allocation_usd"] = ALLOCATION_USD
        self.caps: Any = np.array([(1, 1e9, 1e12, 1000, 1e12)], CAPS)[0]
        for name, value in caps.items():
            self.caps[name] = value

    def want(self, position: int, at_ns: int) -> None:
        want(self.arm, self.params, self.caps, position, at_ns)

    def on_quote(self, ts_ns: int, bid_px: float, ask_px: float) -> None:
        on_quote(self.arm, self.params, self.caps, ts_ns, float(bid_px), float(ask_px))

    def hold(self, position: int) -> None:
        """Come to hold a position at 100, long before anything else."""
        self.want(position, T0 - 300 * S)
        self.on_quote(T0 - 299 * S, 100.0, 100.0)

    @property
    def position(self) -> int:
        return int(self.arm["position"])

    def results(self) -> dict[str, float]:
        window, counts = self.arm["window"], np.zeros(1, COUNTS)[0]
        return WindowRecord("ETHUSDT.x", "canary", 0, S, None, "quiet", window, counts, None, None).paper()


def test_a_purchase_is_filled_at_the_ask_of_the_first_quote_after_the_latency() -> None:
    paper = Account()
    paper.on_quote(T0, 99.0, 101.0)
    paper.want(1, T0)
    paper.on_quote(T0 + 100 * MS - 1, 99.0, 101.0)
    early = paper.position

    paper.on_quote(T0 + 100 * MS, 99.0, 101.0)

    assert (early, paper.position) == (0, 1)
    assert paper.results()["gross_pnl_bps"] == pytest.approx(-100.0)


def test_a_sale_is_filled_at_the_bid() -> None:
    paper = Account()
    paper.want(-1, T0)
    paper.on_quote(T0 + S, 99.0, 101.0)
    paper.on_quote(T0 + 2 * S, 89.0, 91.0)

    assert paper.position == -1
    assert paper.results()["gross_pnl_bps"] == pytest.approx(-100.0 + 1000.0)


def test_the_quote_it_was_decided_on_is_never_the_one_it_is_filled_at() -> None:
    paper = Account()
    paper.on_quote(T0, 100.0, 100.2)
    paper.want(1, T0)

    paper.on_quote(T0 + S, 110.0, 110.2)

    assert paper.results()["gross_pnl_bps"] == pytest.approx(-(110.2 / 110.1 - 1) * 1e4)


def test_a_round_trip_loses_the_spread_and_two_fees() -> None:
    paper = Account(fee_bps=2.0)
    paper.want(1, T0)
    paper.on_quote(T0 + S, 99.0, 101.0)
    paper.want(0, T0 + 2 * S)
    paper.on_quote(T0 + 3 * S, 99.0, 101.0)

    results = paper.results()
    assert results["gross_pnl_bps"] == pytest.approx(-200.0)
    assert results["fees_bps"] == pytest.approx(4.0)
    assert results["pnl_bps"] == pytest.approx(-204.0)
    assert (results["turnover"], results["orders"]) == (2, 2)
    assert paper.arm["equity_bps"] == pytest.approx(-204.0)


def test_a_reversal_trades_two_units_and_pays_for_both() -> None:
    paper = Account(fee_bps=1.0)
    paper.hold(1)
    paper.want(-1, T0)
    paper.on_quote(T0 + S, 99.0, 101.0)

    results = paper.results()
    assert results["turnover"] == 1 + 2
    assert results["fees_bps"] == pytest.approx(1.0 + 2.0)
    assert results["gross_pnl_bps"] == pytest.approx(-200.0)
    assert paper.position == -1


def test_orders_beyond_the_rate_limit_are_refused_and_counted() -> None:
    paper = Account(rate=2)
    paper.want(1, T0)
    paper.want(0, T0 + S)
    paper.want(1, T0 + 2 * S)

    results = paper.results()
    assert (results["orders"], results["orders_refused"], results["orders_capped"]) == (2, 1, 0)


def test_the_rate_limit_frees_an_order_after_a_minute() -> None:
    paper = Account(rate=1)
    paper.want(1, T0)
    paper.want(0, T0 + 60 * S - 1)
    paper.want(0, T0 + 60 * S)

    results = paper.results()
    assert (results["orders"], results["orders_refused"]) == (2, 1)


def test_wanting_what_is_already_wanted_is_no_order() -> None:
    paper = Account(rate=1)
    for second in range(10):
        paper.want(1, T0 + second * S)

    results = paper.results()
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
    paper = Account()
    paper.want(1, T0)
    for second, mid in enumerate(mids, start=1):
        paper.on_quote(T0 + second * S, mid, mid)

    assert paper.results()["max_drawdown_bps"] == pytest.approx(drawdown)


def test_a_fee_is_part_of_the_drawdown() -> None:
    paper = Account(fee_bps=3.0)
    paper.want(1, T0)
    paper.on_quote(T0 + S, 100.0, 100.0)

    assert paper.results()["max_drawdown_bps"] == pytest.approx(3.0)


@pytest.mark.parametrize("limit", [0.01, 0.5, 1.0])
def test_profit_does_not_depend_on_the_position_limit(limit: float) -> None:
    def results(limit: float) -> dict[str, float]:
        paper = Account(fee_bps=1.7, limit=limit)
        for second, (wanted, mid) in enumerate([(1, 100.0), (1, 103.0), (-1, 99.0), (0, 104.0), (0, 101.0)]):
            paper.want(wanted, T0 + second * S)
            paper.on_quote(T0 + second * S + 500 * MS, mid - 0.1, mid + 0.1)
        return paper.results()

    assert results(limit) == results(0.2)


UNIT_USD = 0.5 * ALLOCATION_USD


@pytest.mark.parametrize(
    ("caps", "held", "wanted", "is_sent"),
    [
        pytest.param({"is_tradable": 0}, 0, 1, False, id="an instrument or venue that is not listed"),
        pytest.param({"is_tradable": 0}, 0, -1, False, id="not listed, the other way"),
        pytest.param({"max_order_value_usd": UNIT_USD}, 0, 1, True, id="an order as large as may be"),
        pytest.param({"max_order_value_usd": UNIT_USD - 0.01}, 0, 1, False, id="an order that is too large"),
        pytest.param({"max_order_value_usd": 2 * UNIT_USD}, 1, -1, True, id="a reversal as large as may be"),
        pytest.param({"max_order_value_usd": 2 * UNIT_USD - 0.01}, 1, -1, False, id="a reversal is two units"),
        pytest.param({"max_position_usd": UNIT_USD}, 0, -1, True, id="a position as large as may be"),
        pytest.param({"max_position_usd": UNIT_USD - 0.01}, 0, -1, False, id="a position that is too large"),
    ],
)
def test_a_cap_stops_an_order_and_counts_it(caps: dict[str, float], held: int, wanted: int, is_sent: bool) -> None:
    paper = Account()
    if held:
        paper.hold(held)
    before = paper.results()
    for name, value in caps.items():
        paper.caps[name] = value

    paper.want(wanted, T0)
    paper.on_quote(T0 + S, 100.0, 100.0)

    after = paper.results()
    assert paper.position == (wanted if is_sent else held)
    assert after["orders"] - before["orders"] == is_sent
    assert (after["orders_capped"], after["orders_refused"]) == (not is_sent, 0)


@pytest.mark.parametrize(
    ("cap", "capped"), [({"is_tradable": 0}, 0), ({"max_order_value_usd": 1.0}, 0), ({"max_position_usd": 1.0}, 1)]
)
def test_going_flat_is_allowed_whatever_lists_and_values_say(cap: dict[str, float], capped: int) -> None:
    paper = Account()
    paper.hold(1)
    for name, value in cap.items():
        paper.caps[name] = value

    paper.want(0, T0)
    paper.on_quote(T0 + S, 100.0, 100.0)

    assert paper.position == 0
    assert paper.results()["orders_capped"] == capped


def test_the_cap_on_orders_holds_over_a_wider_limit_and_for_going_flat() -> None:
    paper = Account(rate=60, max_orders_per_min=1)
    paper.want(1, T0)
    paper.want(0, T0 + 60 * S - 1)
    capped = paper.results()["orders_capped"]
    paper.want(0, T0 + 60 * S)

    results = paper.results()
    assert capped == 1
    assert (results["orders"], results["orders_capped"], results["orders_refused"]) == (2, 1, 0)


@pytest.mark.parametrize("wanted", [1, -1])
@pytest.mark.parametrize(
    ("cap_bps", "is_filled"), [pytest.param(101.0, True, id="inside"), pytest.param(99.0, False, id="outside")]
)
def test_a_price_too_far_from_the_mid_is_not_dealt_at(wanted: int, cap_bps: float, is_filled: bool) -> None:
    paper = Account(fee_bps=1.0, max_price_deviation_bps=cap_bps)
    paper.want(wanted, T0)
    paper.on_quote(T0 + S, 99.0, 101.0)

    results = paper.results()
    assert paper.position == (wanted if is_filled else 0)
    assert results["orders_capped"] == (not is_filled)
    assert (results["fees_bps"] > 0.0, results["gross_pnl_bps"] < 0.0) == (is_filled, is_filled)


def test_an_order_that_was_not_dealt_may_be_sent_again() -> None:
    paper = Account(max_price_deviation_bps=50.0)
    paper.want(1, T0)
    paper.on_quote(T0 + S, 99.0, 101.0)
    paper.on_quote(T0 + 2 * S, 100.0, 100.0)
    was_held = paper.position
    paper.want(1, T0 + 3 * S)
    paper.on_quote(T0 + 4 * S, 100.0, 100.0)

    assert (was_held, paper.position) == (0, 1)
    assert paper.results()["orders"] == 2
