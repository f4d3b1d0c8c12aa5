"""Parameters, their identity and their invariants."""

import re
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ConfigError
from engine.strategy.layout import MAX_LEVELS, MAX_ORDERS, Z_RING
from engine.strategy.params import (
    SECTIONS,
    CvdParams,
    CvdZParams,
    FusionParams,
    HysteresisParams,
    MarketParams,
    OfiParams,
    OfiZParams,
    PaperParams,
    PerformanceParams,
    RiskParams,
    ScheduleParams,
    StrategyParams,
    SymbolParams,
    canonical_json,
    fingerprint,
    params_diff,
    parse_params,
)
from tests.making import params_with

NAN = float("nan")
INF = float("inf")


def test_canonical_json_sorts_keys_and_has_no_spaces() -> None:
    assert canonical_json({"b": 1, "a": [1.5, None, "é"]}) == '{"a":[1.5,null,"é"],"b":1}'


def test_equal_parameters_have_one_text_and_one_fingerprint() -> None:
    assert canonical_json(params_with()) == canonical_json(params_with())
    assert fingerprint(params_with()) == fingerprint(params_with())


def test_whole_numbers_and_floats_of_a_float_field_have_one_fingerprint() -> None:
    assert fingerprint(params_with({"paper.fee_bps": 2})) == fingerprint(params_with({"paper.fee_bps": 2.0}))


@settings(max_examples=50, deadline=None)
@given(fee=st.floats(0, 1e6), rate=st.integers(1, MAX_ORDERS))
def test_parameters_survive_their_canonical_text(fee: float, rate: int) -> None:
    params = params_with({"paper.fee_bps": fee, "active.risk.order_rate_limit_per_min": rate})

    assert parse_params(canonical_json(params), fingerprint(params)) == params


def test_a_fingerprint_is_twelve_hex_digits() -> None:
    assert re.fullmatch(r"[0-9a-f]{12}", fingerprint(params_with()))


def test_any_changed_field_changes_the_fingerprint() -> None:
    changed = params_with({"active.ofi.freeze_ms": 1})

    assert fingerprint(changed) != fingerprint(params_with())
    assert params_diff(params_with(), changed) == {"active.ofi.freeze_ms": (0, 1)}


@pytest.mark.parametrize("value", [NAN, INF, -INF], ids=["NaN", "infinity", "minus infinity"])
def test_what_is_not_a_number_has_no_canonical_text(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"x": value})


def test_another_fingerprint_is_refused() -> None:
    params = params_with()
    other = fingerprint(params_with({"paper.fee_bps": 9.0}))

    with pytest.raises(ConfigError, match=f"say they are {other} but are {fingerprint(params)}"):
        parse_params(canonical_json(params), other)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param('"mode":"auto"', '"mode":"auto","turbo":1', id="an unknown field"),
        pytest.param('"fee_bps":', '"hidden":true,"fee_bps":', id="an unknown field deep inside"),
        pytest.param('"mode":"auto"', '"mode":"fast"', id="an unknown choice"),
        pytest.param('"mode":"auto"', '"mode":null', id="nothing where something must be"),
        pytest.param('"fee_bps":1.7', '"fee_bps":"1.7"', id="text for a number"),
        pytest.param('"fee_bps":1.7', '"fee_bps":NaN', id="not a number"),
        pytest.param('"fee_bps":1.7', '"fee_bps":-1', id="an invariant broken"),
        pytest.param('"fee_bps":1.7,', "", id="a missing field"),
        pytest.param('"latency_ms":100', '"latency_ms":100.5', id="half a millisecond"),
        pytest.param("{", "", id="not JSON"),
    ],
)
def test_text_that_is_not_what_was_approved_is_refused(old: str, new: str) -> None:
    params = params_with()
    text = canonical_json(params)
    assert old in text

    with pytest.raises(ConfigError):
        parse_params(text.replace(old, new, 1), fingerprint(params))


OFI_Z = {"kind": "ewma", "half_life_s": 5.0, "window": 300, "floor": 0.0}
CVD_Z = {"kind": "ewma", "window": 300, "floor": 0.0}
OFI = {
    "bucket_ms": 100, "window_ms": 500, "watermark_ms": 100, "freeze_ms": 0, "depth_levels": 10, "form": "best",
    "normalise": False, "transform": "signed_sqrt", "z": OfiZParams(**OFI_Z),
}  # fmt: skip
CVD = {"window_ticks": 200, "ema_span": 10, "denoise_sigma": 3.0, "transform": "signed_sqrt", "z": CvdZParams(**CVD_Z)}
PERFORMANCE = {"flush_metrics_interval_ms": 1000, "coalesce_ms": 0}
RISK = {"position_limit": 0.5, "order_rate_limit_per_min": 60}
FUSION = {"weight_ofi": 0.6, "weight_cvd": 0.4, "enter": 1.0, "exit": 0.2, "require_agreement": False}
SCHEDULE = {"enabled": True, "timezone": "UTC", "windows": (), "weekdays": (0,), "holidays": ()}
MARKET = {
    "enabled": True, "window_secs": 1.0, "min_trades_per_min": 1.0, "min_quote_updates_per_sec": 1.0,
    "max_spread_bps": 5.0, "min_volatility_bps": 1.0, "min_volume_usd": 1.0,
}  # fmt: skip
HYSTERESIS = {"min_active_windows": 3, "min_quiet_windows": 2}
PAPER = {"fee_bps": 1.7, "latency_ms": 100, "allocation_usd": 1e5}
DAY_MS = 86_400_000

BROKEN = [
    (OfiParams, OFI, "bucket_ms", 0),
    (OfiParams, OFI, "bucket_ms", 60),
    (OfiParams, OFI, "bucket_ms", -100),
    (OfiParams, OFI, "window_ms", 75),
    (OfiParams, OFI, "watermark_ms", -1),
    (OfiParams, OFI, "freeze_ms", -1),
    (OfiParams, OFI, "window_ms", 25_600),
    (OfiParams, OFI, "watermark_ms", 25_600),
    (OfiParams, OFI, "freeze_ms", DAY_MS + 1),
    (OfiParams, OFI, "depth_levels", 0),
    (OfiParams, OFI, "depth_levels", MAX_LEVELS + 1),
    (OfiZParams, OFI_Z, "half_life_s", 0.0),
    (OfiZParams, OFI_Z, "half_life_s", NAN),
    (OfiZParams, OFI_Z, "window", 19),
    (OfiZParams, OFI_Z, "window", Z_RING + 1),
    (OfiZParams, OFI_Z, "floor", -0.1),
    (OfiZParams, OFI_Z, "floor", NAN),
    (OfiZParams, OFI_Z, "kind", "robust"),
    (CvdZParams, CVD_Z, "window", 19),
    (CvdZParams, CVD_Z, "window", Z_RING + 1),
    (CvdZParams, CVD_Z, "floor", -0.1),
    (CvdZParams, CVD_Z, "kind", "robust"),
    (CvdParams, CVD, "ema_span", 0),
    (CvdParams, CVD, "window_ticks", 10),
    (CvdParams, CVD, "denoise_sigma", 0.0),
    (RiskParams, RISK, "position_limit", 0.0),
    (RiskParams, RISK, "position_limit", 1.01),
    (RiskParams, RISK, "position_limit", NAN),
    (RiskParams, RISK, "order_rate_limit_per_min", 0),
    (RiskParams, RISK, "order_rate_limit_per_min", MAX_ORDERS + 1),
    (PerformanceParams, PERFORMANCE, "flush_metrics_interval_ms", 0),
    (PerformanceParams, PERFORMANCE, "coalesce_ms", -1),
    (PerformanceParams, PERFORMANCE, "coalesce_ms", 51),
    (FusionParams, FUSION, "weight_ofi", -0.1),
    (FusionParams, FUSION | {"weight_cvd": 0.0}, "weight_ofi", 0.0),
    (FusionParams, FUSION, "exit", 1.0),
    (FusionParams, FUSION, "exit", -0.1),
    (ScheduleParams, SCHEDULE, "timezone", "Mars/Olympus"),
    (ScheduleParams, SCHEDULE, "timezone", "../../etc/passwd"),
    (ScheduleParams, SCHEDULE, "weekdays", (7,)),
    (ScheduleParams, SCHEDULE, "weekdays", (-1,)),
    (MarketParams, MARKET, "window_secs", 0.0),
    (MarketParams, MARKET, "window_secs", 1e-10),
    (MarketParams, MARKET, "window_secs", 86_401.0),
    (MarketParams, MARKET, "min_trades_per_min", -1.0),
    (MarketParams, MARKET, "min_quote_updates_per_sec", -1.0),
    (MarketParams, MARKET, "max_spread_bps", 0.0),
    (MarketParams, MARKET, "min_volatility_bps", NAN),
    (MarketParams, MARKET, "min_volume_usd", -1.0),
    (HysteresisParams, HYSTERESIS, "min_active_windows", 0),
    (HysteresisParams, HYSTERESIS, "min_quiet_windows", 0),
    (PaperParams, PAPER, "fee_bps", -0.1),
    (PaperParams, PAPER, "latency_ms", -1),
    (PaperParams, PAPER, "latency_ms", DAY_MS + 1),
    (PaperParams, PAPER, "allocation_usd", 0.0),
    (PaperParams, PAPER, "allocation_usd", NAN),
]


@pytest.mark.parametrize(
    ("kind", "ordinary"),
    [
        (OfiZParams, OFI_Z), (CvdZParams, CVD_Z), (OfiParams, OFI), (CvdParams, CVD), (RiskParams, RISK),
        (PerformanceParams, PERFORMANCE), (FusionParams, FUSION), (ScheduleParams, SCHEDULE), (MarketParams, MARKET),
        (HysteresisParams, HYSTERESIS), (PaperParams, PAPER),
    ],
)  # fmt: skip
def test_ordinary_values_are_accepted(kind: Any, ordinary: dict[str, Any]) -> None:
    assert kind(**ordinary)


@pytest.mark.parametrize(
    ("kind", "ordinary", "field", "value"),
    [pytest.param(*row, id=f"{row[0].__name__} {row[2]} {row[3]}") for row in BROKEN],
)
def test_a_broken_invariant_says_what_must_be_and_what_was(
    kind: Any, ordinary: dict[str, Any], field: str, value: Any
) -> None:
    with pytest.raises(ValueError, match=r"must be .*, was "):
        kind(**(ordinary | {field: value}))


def test_an_invariant_names_its_field() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"paper\.fee_bps must be >= 0, was -1"):
        params_with({"paper.fee_bps": -1.0})


def own(changes: dict[str, Any]) -> SymbolParams:
    """What a symbol has that differs from the ordinary by these dotted fields."""
    params = params_with(changes)
    return SymbolParams(**{name: getattr(params, name) for name in SECTIONS})


def with_overrides(overrides: dict[str, dict[str, Any]], changes: dict[str, Any] | None = None) -> StrategyParams:
    return replace(params_with(changes), per_symbol={name: own(fields) for name, fields in overrides.items()})


FAST = {"active.ofi.bucket_ms": 50}
SLOW = {"active.ofi.bucket_ms": 500}


@pytest.mark.parametrize(
    ("symbol", "bucket_ms"),
    [
        pytest.param("ETHUSDT.binance_usdm", 50, id="the exact symbol goes first"),
        pytest.param("ETHUSDT.binance_spot", 500, id="then its ticker"),
        pytest.param("ETHUSDT", 500, id="a ticker for itself"),
        pytest.param("BTCUSDT.binance_usdm", 100, id="then what holds for all"),
    ],
)
def test_an_override_is_found_by_symbol_then_by_ticker(symbol: str, bucket_ms: int) -> None:
    params = with_overrides({"ETHUSDT": SLOW, "ETHUSDT.binance_usdm": FAST})

    assert params.for_symbol(symbol).active.ofi.bucket_ms == bucket_ms


def test_the_parameters_of_a_symbol_have_no_overrides_left() -> None:
    params = with_overrides({"ETHUSDT": FAST})

    assert params.for_symbol("ETHUSDT.binance_usdm") == params_with(FAST)
    assert params.for_symbol("BTCUSDT.binance_usdm") == params_with()


def test_overrides_are_in_the_fingerprint_and_survive_their_text() -> None:
    params = with_overrides({"ETHUSDT": FAST})

    assert fingerprint(params) != fingerprint(params_with())
    assert parse_params(canonical_json(params), fingerprint(params)) == params


@pytest.mark.parametrize("name", ["ethusdt", "../../etc/passwd", "", "ETHUSDT.", "ETHUSDT.a.b", "*"])
def test_an_override_of_what_is_no_symbol_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"per_symbol must be by ticker or TICKER.venue, was "):
        with_overrides({name: FAST})


@pytest.mark.parametrize(
    ("old", "new", "diff"),
    [
        pytest.param(
            params_with(),
            with_overrides({"ETHUSDT": FAST}),
            {"per_symbol.ETHUSDT.active.ofi.bucket_ms": (100, 50)},
            id="an override added",
        ),
        pytest.param(
            with_overrides({"ETHUSDT": FAST}),
            params_with(),
            {"per_symbol.ETHUSDT.active.ofi.bucket_ms": (50, 100)},
            id="an override dropped",
        ),
        pytest.param(
            with_overrides({"ETHUSDT": FAST}),
            with_overrides({"ETHUSDT": SLOW}),
            {"per_symbol.ETHUSDT.active.ofi.bucket_ms": (50, 500)},
            id="an override changed",
        ),
        pytest.param(
            with_overrides({"ETHUSDT": FAST}),
            with_overrides({"ETHUSDT": FAST | {"paper.fee_bps": 2.0}}, {"paper.fee_bps": 2.0}),
            {"paper.fee_bps": (1.7, 2.0)},
            id="a change for all is said once",
        ),
        pytest.param(
            with_overrides({"ETHUSDT": FAST}),
            with_overrides({"ETHUSDT": FAST, "ETHUSDT.binance_spot": SLOW}),
            {"per_symbol.ETHUSDT.binance_spot.active.ofi.bucket_ms": (50, 500)},
            id="a symbol that had its ticker's until now",
        ),
        pytest.param(with_overrides({"ETHUSDT": FAST}), with_overrides({"ETHUSDT": FAST}), {}, id="nothing"),
    ],
)
def test_a_diff_shows_overrides_as_dotted_fields(
    old: StrategyParams, new: StrategyParams, diff: dict[str, tuple[Any, Any]]
) -> None:
    assert params_diff(old, new) == diff
