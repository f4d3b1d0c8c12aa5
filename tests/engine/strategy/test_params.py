"""Parameters, their identity and their invariants."""

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ConfigError
from engine.strategy.params import (
    CvdParams,
    FusionParams,
    HysteresisParams,
    MarketParams,
    OfiParams,
    PaperParams,
    PerformanceParams,
    RiskParams,
    ScheduleParams,
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
@given(fee=st.floats(0, 1e6), rate=st.integers(1, 10_000))
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


OFI = {"bucket_ms": 100, "window_ms": 500, "watermark_ms": 100, "freeze_ms": 0, "z_half_life_s": 5.0}
CVD = {"window_ticks": 200, "ema_span": 10, "denoise_sigma": 3.0}
RISK = {"position_limit": 0.5, "order_rate_limit_per_min": 60}
FUSION = {"weight_ofi": 0.6, "weight_cvd": 0.4, "enter": 1.0, "exit": 0.2, "require_agreement": False}
SCHEDULE = {"enabled": True, "timezone": "UTC", "windows": (), "weekdays": (0,), "holidays": ()}
MARKET = {
    "enabled": True, "window_secs": 1.0, "min_trades_per_min": 1.0, "min_quote_updates_per_sec": 1.0,
    "max_spread_bps": 5.0, "min_volatility_bps": 1.0, "min_volume_usd": 1.0,
}  # fmt: skip
HYSTERESIS = {"min_active_windows": 3, "min_quiet_windows": 2}
PAPER = {"fee_bps": 1.7, "latency_ms": 100}

BROKEN = [
    (OfiParams, OFI, "bucket_ms", 0),
    (OfiParams, OFI, "bucket_ms", 60),
    (OfiParams, OFI, "bucket_ms", -100),
    (OfiParams, OFI, "window_ms", 75),
    (OfiParams, OFI, "watermark_ms", -1),
    (OfiParams, OFI, "freeze_ms", -1),
    (OfiParams, OFI, "window_ms", 25_600),
    (OfiParams, OFI, "watermark_ms", 25_600),
    (OfiParams, OFI, "z_half_life_s", 0.0),
    (OfiParams, OFI, "z_half_life_s", NAN),
    (CvdParams, CVD, "ema_span", 0),
    (CvdParams, CVD, "window_ticks", 10),
    (CvdParams, CVD, "denoise_sigma", 0.0),
    (RiskParams, RISK, "position_limit", 0.0),
    (RiskParams, RISK, "position_limit", 1.01),
    (RiskParams, RISK, "position_limit", NAN),
    (RiskParams, RISK, "order_rate_limit_per_min", 0),
    (PerformanceParams, {}, "flush_metrics_interval_ms", 0),
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
    (MarketParams, MARKET, "min_trades_per_min", -1.0),
    (MarketParams, MARKET, "min_quote_updates_per_sec", -1.0),
    (MarketParams, MARKET, "max_spread_bps", 0.0),
    (MarketParams, MARKET, "min_volatility_bps", NAN),
    (MarketParams, MARKET, "min_volume_usd", -1.0),
    (HysteresisParams, HYSTERESIS, "min_active_windows", 0),
    (HysteresisParams, HYSTERESIS, "min_quiet_windows", 0),
    (PaperParams, PAPER, "fee_bps", -0.1),
    (PaperParams, PAPER, "latency_ms", -1),
]


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
