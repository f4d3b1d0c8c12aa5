"""The last line of defence before parameters are published: each module looks at every number it will use.

Rows come from parameters that were valid, so a refusal here means that the conversion or the
memory is wrong. Comparisons are written so that NaN does not hold.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.clock import NS_PER_MS
from engine.strategy.kernels.compile import kernel
from engine.strategy.layout import (
    ACTIVE,
    BIN_NS,
    FORM_BEST,
    FORM_INTEGRATED,
    LONGEST_READ_NS,
    MAX_LEVELS,
    MAX_ORDERS,
    Z_EWMA,
    Z_RING,
    Z_ROBUST,
)

DAY_NS = 86_400_000 * NS_PER_MS
INF = math.inf
MIN_WINDOW = 2
"""A deviation needs two values."""

Rows = NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Module:
    """One module that must agree to an update, and the fields it answers for.

    `check` takes rows of dtype PARAMS, shape (n,), and returns the index of the first it refuses, or -1.
    """

    name: str
    fields: tuple[str, ...]
    check: Callable[[Rows], int]


@kernel
def _check_ofi(rows: Rows) -> int:
    for index in range(rows.shape[0]):
        row = rows[index]
        buckets = row.bucket_ns > 0 and row.bucket_ns % BIN_NS == 0
        windows = row.window_ns > 0 and row.window_ns % BIN_NS == 0
        waits = row.watermark_ns >= 0 and 0 <= row.freeze_ns <= DAY_NS
        reaches = row.window_ns + row.watermark_ns + row.bucket_ns < LONGEST_READ_NS
        shaped = 1 <= row.depth_levels <= MAX_LEVELS and FORM_BEST <= row.form <= FORM_INTEGRATED
        flags = 0 <= row.normalise <= 1 and 0 <= row.signed_sqrt <= 1
        scaled = Z_EWMA <= row.ofi_z <= Z_ROBUST and 0.0 < row.ofi_z_alpha <= 1.0
        floored = 0.0 <= row.ofi_z_floor < INF and (row.ofi_z != Z_ROBUST or row.ofi_z_floor > 0.0)
        ranged = MIN_WINDOW <= row.ofi_z_window <= Z_RING
        if not (buckets and windows and waits and reaches and shaped and flags and scaled and floored and ranged):
            return index
    return -1


@kernel
def _check_cvd(rows: Rows) -> int:
    for index in range(rows.shape[0]):
        row = rows[index]
        smoothed = 0.0 < row.size_alpha < row.ema_alpha <= 1.0 and 0.0 < row.denoise_sigma < INF
        flags = 0 <= row.cvd_signed_sqrt <= 1
        scaled = Z_EWMA <= row.cvd_z <= Z_ROBUST and 0.0 < row.cvd_z_alpha <= 1.0
        floored = 0.0 <= row.cvd_z_floor < INF and (row.cvd_z != Z_ROBUST or row.cvd_z_floor > 0.0)
        ranged = MIN_WINDOW <= row.cvd_z_window <= Z_RING
        if not (smoothed and flags and scaled and floored and ranged):
            return index
    return -1


@kernel
def _check_risk(rows: Rows) -> int:
    for index in range(rows.shape[0]):
        row = rows[index]
        if not (0.0 < row.position_limit <= 1.0 and 1 <= row.order_rate_limit <= MAX_ORDERS):
            return index
    return -1


@kernel
def _check_performance(rows: Rows) -> int:
    for index in range(rows.shape[0]):
        row = rows[index]
        if not (0 < row.flush_ns <= DAY_NS and 0 <= row.coalesce_ns <= BIN_NS):
            return index
    return -1


@kernel
def _check_fusion(rows: Rows) -> int:
    for index in range(rows.shape[0]):
        row = rows[index]
        weighted = row.weight_ofi >= 0.0 and row.weight_cvd >= 0.0 and 0.0 < row.weight_ofi + row.weight_cvd < INF
        ordered = 0.0 <= row.exit < row.enter < INF and 0 <= row.require_agreement <= 1
        if not (weighted and ordered):
            return index
    return -1


@kernel
def _check_paper(rows: Rows) -> int:
    for index in range(rows.shape[0]):
        row = rows[index]
        costs = 0.0 <= row.fee_bps < INF and 0 <= row.latency_ns <= DAY_NS
        if not (costs and 0.0 < row.allocation_usd < INF):
            return index
    return -1


@kernel
def _check_mode(rows: Rows) -> int:
    for index in range(rows.shape[0]):
        row = rows[index]
        if not (-1 <= row.pin <= ACTIVE and 0 < row.market_ns <= DAY_NS and row.market_ns % BIN_NS == 0):
            return index
    return -1


MODULES = (
    Module(
        "ofi",
        (
            "bucket_ns",
            "window_ns",
            "watermark_ns",
            "freeze_ns",
            "depth_levels",
            "form",
            "normalise",
            "signed_sqrt",
            "ofi_z",
            "ofi_z_alpha",
            "ofi_z_window",
            "ofi_z_floor",
        ),
        _check_ofi,
    ),
    Module(
        "cvd",
        (
            "ema_alpha",
            "size_alpha",
            "denoise_sigma",
            "cvd_signed_sqrt",
            "cvd_z",
            "cvd_z_alpha",
            "cvd_z_window",
            "cvd_z_floor",
        ),
        _check_cvd,
    ),
    Module("risk", ("position_limit", "order_rate_limit"), _check_risk),
    Module("performance", ("flush_ns", "coalesce_ns"), _check_performance),
    Module("fusion", ("weight_ofi", "weight_cvd", "enter", "exit", "require_agreement"), _check_fusion),
    Module("paper", ("fee_bps", "latency_ns", "allocation_usd"), _check_paper),
    Module("mode", ("pin", "market_ns"), _check_mode),
)
"""In the order in which they are asked."""
