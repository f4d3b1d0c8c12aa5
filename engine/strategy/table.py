"""Parameters as numbers: the table that kernels read, and how another one takes its place.

An update has two phases. `prepare` builds a new snapshot beside the old one and lets every module
check every row of it; publishing is one store of a reference, between two batches. Whatever is
refused leaves the old snapshot as it was, and readers see one snapshot or the other.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.clock import NS_PER_MS, NS_PER_S
from engine.errors import ConfigError, ModuleError
from engine.strategy.checks import MODULES, Module
from engine.strategy.layout import (
    BASELINE_ARM,
    CANARY_ARM,
    FORM_BEST,
    FORM_INTEGRATED,
    FORM_MULTI,
    PARAMS,
    ROWS,
    Z_EWMA,
    Z_ROBUST,
    Z_ROLLING,
)
from engine.strategy.mode import MODES, Mode, mode_params, pinned_mode
from engine.strategy.params import CvdParams, OfiParams, StrategyParams, fingerprint

FORMS = {"best": FORM_BEST, "multi": FORM_MULTI, "integrated": FORM_INTEGRATED}
Z_KINDS = {"ewma": Z_EWMA, "rolling": Z_ROLLING, "robust": Z_ROBUST}

_BOTH_MODES = np.dtype((np.void, 2 * PARAMS.itemsize))

Rows = NDArray[np.void]


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """What the service runs on, never changed once built. All arrays are read-only.

    `table` is of dtype PARAMS, shape (n_symbols, 2 arms, 2 modes). `versions`, shape (2 arms,), has a
    number that rises whenever an arm's parameters change. `fingerprints` and `params` are those of
    stable and candidate.
    """

    epoch: int
    table: Rows
    versions: NDArray[np.int64]
    fingerprints: tuple[str, str]
    params: tuple[StrategyParams, StrategyParams]
    rows: Rows = field(init=False)
    """The same memory as `table`, dtype ROWS, shape (n_symbols,)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", self.table.reshape(-1).view(ROWS))


def alpha_of_half_life(steps: float) -> float:
    """Weight of a new value so that old weight halves after `steps` updates."""
    return 1.0 - math.pow(2.0, -1.0 / steps)


def alpha_of_span(span: float) -> float:
    """Weight of a new value for a span in the sense of an N-point moving average: 2 / (N + 1)."""
    return 2.0 / (span + 1.0)


def param_rows(params: StrategyParams, symbols: Sequence[str]) -> Rows:
    """Return what each symbol does in each mode, dtype PARAMS, shape (n_symbols, 2 modes)."""
    rows = np.empty((len(symbols), 2), PARAMS)
    rows[:] = _symbol_rows(params)
    for index, symbol in enumerate(symbols):
        own = params.for_symbol(symbol)
        if own is not params:
            rows[index] = _symbol_rows(own)
    return rows


def _symbol_rows(params: StrategyParams) -> Rows:
    pair = np.empty(2, PARAMS)
    for number, mode in enumerate(MODES):
        values = _row(params, mode)
        pair[number] = tuple(values[name] for name in PARAMS.names or ())
    return pair


def _row(params: StrategyParams, mode: Mode) -> dict[str, Any]:
    chosen, fusion, paper = mode_params(params, mode), params.fusion, params.paper
    pinned = pinned_mode(params)
    coalesces = mode is Mode.ACTIVE or params.throttle_in_quiet
    return {
        "pin": -1 if pinned is None else MODES.index(pinned),
        "market_ns": round(params.market.window_secs * NS_PER_S),
        **_ofi_fields(chosen.ofi),
        **_cvd_fields(chosen.cvd),
        "position_limit": chosen.risk.position_limit,
        "order_rate_limit": chosen.risk.order_rate_limit_per_min,
        "flush_ns": chosen.performance.flush_metrics_interval_ms * NS_PER_MS,
        "coalesce_ns": chosen.performance.coalesce_ms * NS_PER_MS if coalesces else 0,
        "weight_ofi": fusion.weight_ofi,
        "weight_cvd": fusion.weight_cvd,
        "enter": fusion.enter,
        "exit": fusion.exit,
        "require_agreement": fusion.require_agreement,
        "fee_bps": paper.fee_bps,
        "latency_ns": paper.latency_ms * NS_PER_MS,
        "allocation_usd": paper.allocation_usd,
    }


def _ofi_fields(ofi: OfiParams) -> dict[str, Any]:
    return {
        "bucket_ns": ofi.bucket_ms * NS_PER_MS,
        "window_ns": ofi.window_ms * NS_PER_MS,
        "watermark_ns": ofi.watermark_ms * NS_PER_MS,
        "freeze_ns": ofi.freeze_ms * NS_PER_MS,
        "depth_levels": ofi.depth_levels,
        "form": FORMS[ofi.form],
        "normalise": ofi.normalise,
        "signed_sqrt": ofi.transform == "signed_sqrt",
        "ofi_z": Z_KINDS[ofi.z.kind],
        "ofi_z_alpha": alpha_of_half_life(ofi.z.half_life_s * 1000 / ofi.bucket_ms),
        "ofi_z_window": ofi.z.window,
        "ofi_z_floor": ofi.z.floor,
    }


def _cvd_fields(cvd: CvdParams) -> dict[str, Any]:
    baseline_alpha = alpha_of_span(cvd.window_ticks)
    return {
        "ema_alpha": alpha_of_span(cvd.ema_span),
        "size_alpha": baseline_alpha,
        "denoise_sigma": cvd.denoise_sigma,
        "cvd_signed_sqrt": cvd.transform == "signed_sqrt",
        "cvd_z": Z_KINDS[cvd.z.kind],
        "cvd_z_alpha": baseline_alpha,
        "cvd_z_window": cvd.z.window,
        "cvd_z_floor": cvd.z.floor,
    }


def first_snapshot(stable: StrategyParams, symbols: Sequence[str]) -> Snapshot:
    """Return what the service boots to: stable parameters in both arms, epoch 0. Raises ConfigError."""
    rows = param_rows(stable, symbols)
    _require_sound(rows, symbols, MODULES)
    table = np.empty((len(symbols), 2, 2), PARAMS)
    table[:] = rows[:, np.newaxis]
    name = fingerprint(stable)
    return Snapshot(0, _frozen(table), _frozen(np.zeros(2, np.int64)), (name, name), (stable, stable))


def prepare(
    snapshot: Snapshot,
    candidate_rows: Rows,
    candidate_fingerprint: str,
    candidate: StrategyParams,
    epoch: int,
    symbols: Sequence[str],
    modules: Sequence[Module] = MODULES,
) -> Snapshot:
    """First phase: return a snapshot with these parameters in the canary arm; the old one is not touched.

    `candidate_rows` is what `param_rows` gives. Raises ConfigError that names the module, symbol
    and values refused.
    """
    _require_sound(candidate_rows, symbols, modules)
    table = np.empty_like(snapshot.table)
    # As opaque bytes: numpy copies records field by field, ten times slower.
    arms = _per_arm(table)
    arms[:, BASELINE_ARM] = _per_arm(snapshot.table)[:, BASELINE_ARM]
    arms[:, CANARY_ARM] = _per_arm(candidate_rows)
    versions = snapshot.versions.copy()
    versions[CANARY_ARM] += 1
    fingerprints = (snapshot.fingerprints[BASELINE_ARM], candidate_fingerprint)
    return Snapshot(epoch, _frozen(table), _frozen(versions), fingerprints, (snapshot.params[BASELINE_ARM], candidate))


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array


def _require_sound(rows: Rows, symbols: Sequence[str], modules: Sequence[Module]) -> None:
    if rows.dtype != PARAMS or rows.shape != (len(symbols), 2):
        shape = (len(symbols), 2)
        raise ConfigError(f"parameter rows must be records of shape {shape}, were {rows.dtype.kind}{rows.shape}")
    flat = rows.reshape(-1)
    for module in modules:
        bad = module.check(flat)
        if bad >= 0:
            values = ", ".join(f"{name}={flat[bad][name]}" for name in module.fields)
            where = f"{symbols[bad // 2]} in {MODES[bad % 2]} mode"
            raise ModuleError(f"module {module.name} refuses {where}: {values}", module.name)


def _per_arm(records: Rows) -> Rows:
    """The same memory without its fields, both modes of an arm as one item: shape (..., 2) becomes (...)."""
    return records.view(_BOTH_MODES)[..., 0]
