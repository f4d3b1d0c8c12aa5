"""Parameters as numbers, and their update on all symbols or on none."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.errors import ConfigError
from engine.strategy.checks import MODULES, Module
from engine.strategy.layout import (
    ACTIVE,
    BASELINE_ARM,
    CANARY_ARM,
    FORM_INTEGRATED,
    PARAMS,
    QUIET,
    Z_EWMA,
    Z_ROBUST,
    Z_ROLLING,
)
from engine.strategy.params import SECTIONS, StrategyParams, SymbolParams, fingerprint
from engine.strategy.table import Snapshot, alpha_of_half_life, alpha_of_span, first_snapshot, param_rows, prepare
from tests.making import params_with

SYMBOLS = tuple(f"S{number:03d}USDT.simulated" for number in range(500))
NAN = float("nan")
DAY_NS = 86_400 * 1_000_000_000


def one(changes: dict[str, Any] | None = None, mode: int = ACTIVE) -> np.void:
    """The row of one symbol in one mode."""
    row: np.void = param_rows(params_with(changes), SYMBOLS[:1])[0, mode]
    return row


@pytest.mark.parametrize(
    ("changes", "mode", "field", "value"),
    [
        pytest.param({}, ACTIVE, "pin", -1, id="triggers decide"),
        pytest.param({"mode": "active"}, QUIET, "pin", ACTIVE, id="pinned active"),
        pytest.param({"dynamic_mode_enabled": False}, ACTIVE, "pin", QUIET, id="switching disabled"),
        pytest.param({"market.window_secs": 0.15}, ACTIVE, "market_ns", 150_000_000, id="a market window"),
        pytest.param({"quiet.ofi.bucket_ms": 250}, QUIET, "bucket_ns", 250_000_000, id="a bucket"),
        pytest.param({"quiet.ofi.bucket_ms": 250}, ACTIVE, "bucket_ns", 100_000_000, id="the other mode's bucket"),
        pytest.param({"active.ofi.window_ms": 1000}, ACTIVE, "window_ns", 1_000_000_000, id="a window"),
        pytest.param({"active.ofi.watermark_ms": 300}, ACTIVE, "watermark_ns", 300_000_000, id="a watermark"),
        pytest.param({"active.ofi.freeze_ms": 7}, ACTIVE, "freeze_ns", 7_000_000, id="a freeze"),
        pytest.param({"active.ofi.depth_levels": 5}, ACTIVE, "depth_levels", 5, id="levels"),
        pytest.param({"active.ofi.form": "integrated"}, ACTIVE, "form", FORM_INTEGRATED, id="a form"),
        pytest.param({"active.ofi.normalise": True}, ACTIVE, "normalise", 1, id="normalised"),
        pytest.param({}, ACTIVE, "signed_sqrt", 1, id="transformed"),
        pytest.param({"active.ofi.transform": "none"}, ACTIVE, "signed_sqrt", 0, id="not transformed"),
        pytest.param({}, ACTIVE, "ofi_z", Z_EWMA, id="an exponential z"),
        pytest.param({"active.ofi.z.kind": "rolling"}, ACTIVE, "ofi_z", Z_ROLLING, id="a rolling z"),
        pytest.param({"active.ofi.z.half_life_s": 0.1}, ACTIVE, "ofi_z_alpha", 0.5, id="a half-life of one bucket"),
        pytest.param({"active.ofi.z.window": 20}, ACTIVE, "ofi_z_window", 20, id="values of a z"),
        pytest.param({"active.ofi.z.floor": 0.5}, ACTIVE, "ofi_z_floor", 0.5, id="a floor"),
        pytest.param({"active.cvd.ema_span": 9}, ACTIVE, "ema_alpha", 0.2, id="a span"),
        pytest.param({"active.cvd.window_ticks": 99}, ACTIVE, "size_alpha", 0.02, id="the baseline of trade sizes"),
        pytest.param({"active.cvd.window_ticks": 99}, ACTIVE, "cvd_z_alpha", 0.02, id="the baseline of the mean"),
        pytest.param({"active.cvd.denoise_sigma": 2.0}, ACTIVE, "denoise_sigma", 2.0, id="a cut"),
        pytest.param(
            {"active.cvd.z": {"kind": "robust", "window": 50, "floor": 9.0}}, ACTIVE, "cvd_z", Z_ROBUST, id="robust"
        ),
        pytest.param({"active.cvd.z.window": 50}, ACTIVE, "cvd_z_window", 50, id="values of the other z"),
        pytest.param({"active.cvd.z.floor": 9.0}, ACTIVE, "cvd_z_floor", 9.0, id="the other floor"),
        pytest.param({"active.risk.position_limit": 0.2}, ACTIVE, "position_limit", 0.2, id="a position limit"),
        pytest.param({"active.risk.order_rate_limit_per_min": 9}, ACTIVE, "order_rate_limit", 9, id="an order rate"),
        pytest.param({}, ACTIVE, "flush_ns", 1_000_000_000, id="a flush interval"),
        pytest.param({"fusion.weight_ofi": 0.7}, QUIET, "weight_ofi", 0.7, id="a weight"),
        pytest.param({"fusion.weight_cvd": 0.7}, QUIET, "weight_cvd", 0.7, id="the other weight"),
        pytest.param({"fusion.enter": 3.0}, QUIET, "enter", 3.0, id="an entry"),
        pytest.param({"fusion.exit": 0.3}, QUIET, "exit", 0.3, id="an exit"),
        pytest.param({"fusion.require_agreement": True}, QUIET, "require_agreement", 1, id="agreement"),
        pytest.param({"paper.fee_bps": 2.0}, QUIET, "fee_bps", 2.0, id="a fee"),
        pytest.param({"paper.latency_ms": 30}, QUIET, "latency_ns", 30_000_000, id="a latency"),
        pytest.param({"paper.allocation_usd": 5e4}, QUIET, "allocation_usd", 5e4, id="an allocation"),
    ],
)
def test_a_parameter_becomes_a_number(changes: dict[str, Any], mode: int, field: str, value: float) -> None:
    assert one(changes, mode)[field] == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("throttle", "mode", "coalesce_ns"),
    [
        pytest.param(True, QUIET, 20_000_000, id="throttled while quiet"),
        pytest.param(False, QUIET, 0, id="not throttled while quiet"),
        pytest.param(False, ACTIVE, 5_000_000, id="what active says holds anyway"),
    ],
)
def test_quiet_gathers_messages_only_when_throttled(throttle: bool, mode: int, coalesce_ns: int) -> None:
    changes = {
        "throttle_in_quiet": throttle,
        "quiet.performance.coalesce_ms": 20,
        "active.performance.coalesce_ms": 5,
    }

    assert one(changes, mode)["coalesce_ns"] == coalesce_ns


def test_a_half_life_halves_and_a_span_is_that_of_a_moving_average() -> None:
    assert (1.0 - alpha_of_half_life(60.0)) ** 60 == pytest.approx(0.5)
    assert alpha_of_span(1.0) == 1.0
    assert alpha_of_span(199.0) == pytest.approx(0.01)


def with_override(name: str, changes: dict[str, Any]) -> StrategyParams:
    params = params_with(changes)
    own = SymbolParams(**{section: getattr(params, section) for section in SECTIONS})
    return replace(params_with(), per_symbol={name: own})


def test_only_the_overridden_symbol_has_other_numbers() -> None:
    params = with_override("S007USDT", {"active.ofi.bucket_ms": 50})

    rows = param_rows(params, SYMBOLS[:10])

    assert rows["bucket_ns"][:, ACTIVE].tolist() == [50_000_000 if n == 7 else 100_000_000 for n in range(10)]
    assert rows[0].tobytes() == param_rows(params_with(), SYMBOLS[:1])[0].tobytes()


STABLE = params_with()
CANDIDATE = with_override("S001USDT", {"active.ofi.bucket_ms": 50})


def booted() -> Snapshot:
    return first_snapshot(STABLE, SYMBOLS)


def prepared(snapshot: Snapshot, rows: np.ndarray[Any, Any] | None = None, **more: Any) -> Snapshot:
    rows = param_rows(CANDIDATE, SYMBOLS) if rows is None else rows
    return prepare(snapshot, rows, fingerprint(CANDIDATE), CANDIDATE, 7, SYMBOLS, **more)


def test_the_service_boots_to_stable_parameters_in_both_arms() -> None:
    snapshot = booted()

    assert snapshot.epoch == 0
    assert snapshot.table.shape == (500, 2, 2)
    assert snapshot.table[:, BASELINE_ARM].tobytes() == snapshot.table[:, CANARY_ARM].tobytes()
    assert snapshot.table[499, CANARY_ARM].tobytes() == param_rows(STABLE, SYMBOLS[:1])[0].tobytes()


def test_an_update_changes_the_canary_arm_of_a_new_snapshot() -> None:
    before = booted()
    kept = before.table.tobytes()

    after = prepared(before)

    assert before.table.tobytes() == kept
    assert after.table[:, BASELINE_ARM].tobytes() == before.table[:, BASELINE_ARM].tobytes()
    assert after.table[:, CANARY_ARM].tobytes() == param_rows(CANDIDATE, SYMBOLS).tobytes()
    assert after.epoch == 7
    assert after.fingerprints == (fingerprint(STABLE), fingerprint(CANDIDATE))
    assert after.params == (STABLE, CANDIDATE)
    assert (before.versions.tolist(), after.versions.tolist()) == ([0, 0], [0, 1])


@pytest.mark.parametrize("snapshot", [booted(), prepared(booted())], ids=["booted", "updated"])
def test_nobody_can_write_into_a_published_table(snapshot: Snapshot) -> None:
    with pytest.raises(ValueError, match="read-only"):
        snapshot.table["enter"] = 0.0
    with pytest.raises(ValueError, match="read-only"):
        snapshot.rows["modes"] = 0
    with pytest.raises(ValueError, match="read-only"):
        snapshot.versions[0] = 9


def test_kernels_see_the_same_memory_as_one_record_per_symbol() -> None:
    snapshot = prepared(booted())

    assert np.shares_memory(snapshot.rows, snapshot.table)
    assert snapshot.rows.shape == (500,)
    assert snapshot.rows[1]["modes"][CANARY_ARM, ACTIVE]["bucket_ns"] == 50_000_000
    assert snapshot.rows[2]["modes"][CANARY_ARM, ACTIVE]["bucket_ns"] == 100_000_000


BAD_NUMBERS = [
    ("ofi", "bucket_ns", 0),
    ("ofi", "bucket_ns", 60_000_000),
    ("ofi", "window_ns", 75_000_000),
    ("ofi", "window_ns", 25_600_000_000),
    ("ofi", "watermark_ns", -1),
    ("ofi", "watermark_ns", 25_600_000_000),
    ("ofi", "freeze_ns", -1),
    ("ofi", "freeze_ns", DAY_NS + 1),
    ("ofi", "depth_levels", 0),
    ("ofi", "depth_levels", 11),
    ("ofi", "form", 3),
    ("ofi", "normalise", 2),
    ("ofi", "signed_sqrt", -1),
    ("ofi", "ofi_z", 3),
    ("ofi", "ofi_z", Z_ROBUST),
    ("ofi", "ofi_z_alpha", 0.0),
    ("ofi", "ofi_z_alpha", NAN),
    ("ofi", "ofi_z_alpha", 1.1),
    ("ofi", "ofi_z_window", 1025),
    ("ofi", "ofi_z_floor", NAN),
    ("ofi", "ofi_z_floor", float("inf")),
    ("cvd", "ema_alpha", 0.0),
    ("cvd", "ema_alpha", NAN),
    ("cvd", "size_alpha", 0.5),
    ("cvd", "denoise_sigma", 0.0),
    ("cvd", "cvd_z", -1),
    ("cvd", "cvd_z", Z_ROBUST),
    ("cvd", "cvd_z_alpha", NAN),
    ("cvd", "cvd_z_window", 1),
    ("cvd", "cvd_z_floor", -1.0),
    ("risk", "position_limit", 0.0),
    ("risk", "position_limit", 1.01),
    ("risk", "position_limit", NAN),
    ("risk", "order_rate_limit", 0),
    ("risk", "order_rate_limit", 1025),
    ("performance", "flush_ns", 0),
    ("performance", "coalesce_ns", -1),
    ("performance", "coalesce_ns", 50_000_001),
    ("fusion", "weight_ofi", -0.1),
    ("fusion", "weight_cvd", NAN),
    ("fusion", "enter", 0.2),
    ("fusion", "enter", float("inf")),
    ("fusion", "exit", -0.1),
    ("fusion", "require_agreement", 2),
    ("paper", "fee_bps", -0.1),
    ("paper", "latency_ns", -1),
    ("paper", "allocation_usd", 0.0),
    ("paper", "allocation_usd", float("inf")),
    ("mode", "pin", 2),
    ("mode", "pin", -2),
    ("mode", "market_ns", 0),
    ("mode", "market_ns", 75_000_000),
]


@pytest.mark.parametrize(
    ("module", "field", "value"), [pytest.param(*row, id=f"{row[1]} {row[2]}") for row in BAD_NUMBERS]
)
def test_a_number_that_cannot_be_is_refused_by_module_symbol_and_value(module: str, field: str, value: Any) -> None:
    before = booted()
    kept = before.table.tobytes()
    rows = param_rows(CANDIDATE, SYMBOLS)
    rows[321, QUIET][field] = value

    says = rf"module {module} refuses S321USDT\.simulated in quiet mode: .*\b{field}={rows[321, QUIET][field]}(,|$)"
    with pytest.raises(ConfigError, match=says):
        prepared(before, rows)

    assert before.table.tobytes() == kept


def test_every_number_of_a_row_belongs_to_one_module() -> None:
    fields = [name for module in MODULES for name in module.fields]

    assert sorted(fields) == sorted(PARAMS.names or ())


def test_a_module_that_refuses_one_symbol_of_500_leaves_none_changed() -> None:
    before = booted()
    kept = before.table.tobytes()
    stubborn = Module("stubborn", ("enter",), lambda rows: rows.size - 1)

    with pytest.raises(ConfigError, match=r"module stubborn refuses S499USDT\.simulated in active mode: enter=1\.0"):
        prepared(before, modules=(*MODULES, stubborn))

    assert before.table.tobytes() == kept
    assert before.fingerprints == (fingerprint(STABLE), fingerprint(STABLE))


def test_a_module_that_raises_leaves_none_changed() -> None:
    before = booted()
    kept = before.table.tobytes()

    def fails(rows: Any) -> int:
        raise RuntimeError("out of order")

    with pytest.raises(RuntimeError, match="out of order"):
        prepared(before, modules=(Module("broken", (), fails), *MODULES))

    assert before.table.tobytes() == kept


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(param_rows(CANDIDATE, SYMBOLS[:499]), id="a symbol too few"),
        pytest.param(np.zeros((500, 2)), id="plain numbers"),
        pytest.param(np.zeros((500, 2, 2), PARAMS), id="arms as well"),
    ],
)
def test_rows_of_another_shape_are_refused(rows: np.ndarray[Any, Any]) -> None:
    with pytest.raises(ConfigError, match="parameter rows must"):
        prepared(booted(), rows)
