"""Live specifications: said in JSON, refused with a sentence."""

import random
from typing import Any

import msgspec
import pytest

from engine.adapters.live.link import BackOff
from engine.adapters.live.spec import Listed, LiveSpec, MarketSpec, listed
from engine.errors import InputError


def test_a_specification_survives_json() -> None:
    spec = LiveSpec((MarketSpec("usdm", ("BTCUSDT",), depth=None), MarketSpec("cm", ("BTCUSD_PERP",))), stall_s=3.0)

    assert msgspec.json.decode(msgspec.json.encode(spec), type=LiveSpec) == spec


def test_instruments_carry_their_venue_and_face_value() -> None:
    found = listed(LiveSpec((MarketSpec("spot", ("BTCUSDT",)), MarketSpec("cm", ("BTCUSD_PERP", "ETHUSD_PERP")))))

    assert [(one.instrument.symbol, one.instrument.contract_usd) for one in found] == [
        ("BTCUSDT.binance_spot", None),
        ("BTCUSD_PERP.binance_coinm", 100.0),
        ("ETHUSD_PERP.binance_coinm", 10.0),
    ]
    assert Listed("spot", "BTCUSDT").stream("depth@100ms") == "btcusdt@depth@100ms"


def test_usdm_serves_merged_trades_at_another_address() -> None:
    """As announced by Binance for 2026-04-23: one address would stay silent for the other's streams."""
    fills, merged = (MarketSpec("usdm", ("BTCUSDT",), trades=trades) for trades in ("trade", "aggTrade"))

    assert fills.trades_base == fills.quotes_base == merged.quotes_base == "wss://fstream.binance.com/public"
    assert merged.trades_base == "wss://fstream.binance.com/market"


def test_given_addresses_replace_all_of_the_venues() -> None:
    market = MarketSpec("usdm", ("BTCUSDT",), trades="aggTrade", ws_url="ws://here", rest_url="http://here")

    assert {market.quotes_base, market.trades_base, market.rest_base} == {"ws://here", "http://here"}


@pytest.mark.parametrize(
    ("markets", "sentence"),
    [
        ([], "at least one instrument"),
        ([MarketSpec("usdm", ())], "at least one instrument"),
        ([MarketSpec("options", ("BTCUSDT",))], "market must be one of spot, usdm, cm, was 'options'"),
        ([MarketSpec("usdm", ("btcusdt",))], "'btcusdt' is not a ticker"),
        ([MarketSpec("usdm", ("../../etc/passwd",))], "'../../etc/passwd' is not a ticker"),
        ([MarketSpec("usdm", ("BTCUSDT", "BTCUSDT"))], "BTCUSDT.binance_usdm is listed twice"),
        ([MarketSpec("usdm", ("BTCUSDT",), trades="kline")], "trades must be one of trade, aggTrade, was 'kline'"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_with_a_sentence(markets: list[Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        listed(LiveSpec(tuple(markets)))


def test_waits_double_up_to_a_cap_and_start_again_after_success() -> None:
    back_off = BackOff(1.0, 8.0, random.Random(5))

    waits = [back_off.next_s() for _ in range(6)]
    back_off.reset()

    assert all(full / 2 <= wait <= full for wait, full in zip(waits, (1, 2, 4, 8, 8, 8), strict=True))
    assert len(set(waits)) == 6
    assert back_off.next_s() <= 1.0
