"""Caps: which orders may be placed at all, and the numbers they are held to."""

from typing import Any

import pytest

from engine.strategy.caps import Caps, OrderCaps, PositionCaps, cap_rows
from engine.strategy.layout import MAX_ORDERS

NAN = float("nan")
ORDERS = {"max_value_usd": 2e5, "max_per_min": 600, "max_price_deviation_bps": 50.0}


def caps(instruments: tuple[str, ...] = ("*",), venues: tuple[str, ...] = ("*",)) -> Caps:
    return Caps(instruments, OrderCaps(**ORDERS), PositionCaps(1e5), venues)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("instruments", "venues", "is_tradable"),
    [
        pytest.param(("*",), ("*",), True, id="any instrument on any venue"),
        pytest.param(("ETHUSDT",), ("*",), True, id="its ticker"),
        pytest.param(("ETHUSDT.binance_usdm",), ("*",), True, id="its full name"),
        pytest.param(("ETHUSDT.binance_spot",), ("*",), False, id="the same ticker on another venue"),
        pytest.param(("BTCUSDT",), ("*",), False, id="another ticker"),
        pytest.param(("ETH",), ("*",), False, id="half a ticker"),
        pytest.param(("*",), ("binance_usdm",), True, id="its venue"),
        pytest.param(("*",), ("binance_spot", "simulated"), False, id="other venues"),
        pytest.param(("ETHUSDT.binance_usdm",), ("binance_spot",), False, id="a listed instrument on no listed venue"),
    ],
)
def test_orders_need_a_listed_instrument_and_a_listed_venue(
    instruments: tuple[str, ...], venues: tuple[str, ...], is_tradable: bool
) -> None:
    assert caps(instruments, venues).allows("ETHUSDT.binance_usdm") is is_tradable


def test_every_symbol_has_a_row_of_caps() -> None:
    rows = cap_rows(caps(("ETHUSDT",)), ["BTCUSDT.simulated", "ETHUSDT.simulated"])

    assert rows["is_tradable"].tolist() == [0, 1]
    assert rows["max_order_value_usd"].tolist() == [2e5, 2e5]
    assert rows["max_orders_per_min"].tolist() == [600, 600]
    assert rows["max_price_deviation_bps"].tolist() == [50.0, 50.0]
    assert rows["max_position_usd"].tolist() == [1e5, 1e5]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_value_usd", 0.0),
        ("max_value_usd", NAN),
        ("max_per_min", 0),
        ("max_per_min", MAX_ORDERS + 1),
        ("max_price_deviation_bps", 0.0),
        ("max_price_deviation_bps", NAN),
    ],
)
def test_an_order_cap_that_caps_nothing_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"orders\.{field} must be .*, was "):
        OrderCaps(**(ORDERS | {field: value}))


@pytest.mark.parametrize("value", [0.0, -1.0, NAN])
def test_a_position_cap_that_caps_nothing_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"positions\.max_usd must be > 0, was "):
        PositionCaps(value)


@pytest.mark.parametrize(
    ("instruments", "venues", "says"),
    [
        pytest.param((), ("*",), "instruments must be a list of at least one", id="no instrument"),
        pytest.param(("*",), (), "venues must be a list of at least one", id="no venue"),
        pytest.param(("../../etc/passwd",), ("*",), "instruments must be .*passwd", id="a path"),
        pytest.param(("ethusdt",), ("*",), "instruments must be .*ethusdt", id="a ticker in small letters"),
        pytest.param(("*",), ("Binance",), "venues must be .*Binance", id="a venue in capitals"),
    ],
)
def test_a_list_that_names_nothing_is_refused(instruments: tuple[str, ...], venues: tuple[str, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        caps(instruments, venues)
