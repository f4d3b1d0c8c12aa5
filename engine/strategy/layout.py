"""Memory that the compiled kernels work on: one record per event, per symbol, per arm, per parameter row.

Kernels take whole arrays and an index, so one call folds any number of events without touching a
Python object. Records nest: `market[i].arms[j].window` is what one arm of one symbol did in the
running window. Everything here is plain numbers; times are int64 nanoseconds of market time.
"""

import numpy as np

from engine.clock import NS_PER_MS
from engine.metrics import HIST_BINS, JOINT_BINS

BIN_NS = 50 * NS_PER_MS
"""Width of one bin of flow, and of one tick: every bucket and window is a whole number of them."""

RING_BINS = 512
RING_MASK = RING_BINS - 1
"""25.6 s of flow. A power of two: a time's place in the ring is its bin's number & RING_MASK."""

MAX_AHEAD_NS = 5_000 * NS_PER_MS
"""An event further ahead of the feed's clock is refused: its time cannot be right."""

LONGEST_READ_NS = RING_BINS * BIN_NS - MAX_AHEAD_NS
"""Window, watermark and bucket together stay below this, so that early events push nothing out too soon."""

MAX_LEVELS = 10
MAX_HORIZONS = 8
MAX_ORDERS = 1024
"""Orders remembered for the rate limit: the largest order_rate_limit_per_min."""

Z_RING = 1024
"""Values kept for rolling and robust z-scores: the largest z_window."""

ACTIVITY_BINS = 64
SIGNAL_RING = 256
"""Signals of one arm that wait to be read; older ones are overwritten."""

BOOK_LEVELS = 4096
"""Price levels kept per side of a book; the furthest is forgotten when a side is full."""

TRADE, QUOTE, DEPTH, GAP = 0, 1, 2, 3
QUIET, ACTIVE = 0, 1
BASELINE_ARM, CANARY_ARM = 0, 1
OFI_SIGNAL, CVD_SIGNAL = 0, 1
SCHEDULE, MARKET_TRIGGER, MANUAL, GUARDRAIL = 0, 1, 2, 3

FORM_BEST, FORM_MULTI, FORM_INTEGRATED = 0, 1, 2
Z_EWMA, Z_ROLLING, Z_ROBUST = 0, 1, 2

EVENT = np.dtype(
    [
        ("kind", "i8"),
        ("arrival_ns", "i8"),
        ("ts_ns", "i8"),
        ("id", "i8"),
        ("a", "f8"),
        ("b", "f8"),
        ("c", "f8"),
        ("d", "f8"),
    ]
)
"""One event, one cache line. `ts_ns` is the venue's time, `arrival_ns` the feed's clock.

| kind  | id        | a           | b          | c         | d                         |
|-------|-----------|-------------|------------|-----------|---------------------------|
| TRADE | trade id  | price       | quantity   | aggressor | 1 where it has to be inferred |
| QUOTE | update id | bid price   | bid qty    | ask price | ask qty                   |
| DEPTH | update id | first level | bids       | asks      | 1 where it is a snapshot  |
| GAP   | -1        | events lost, where known |  |           |                           |

An id is -1 where the venue gives none. A DEPTH event's levels are rows `a .. a + b + c` of the batch's
level array, bids first: price, quantity (0 deletes).
"""

PARAMS = np.dtype(
    [
        ("pin", "i8"),  # QUIET or ACTIVE where the mode is pinned, else -1
        ("market_ns", "i8"),  # length of a market window
        ("bucket_ns", "i8"), ("window_ns", "i8"), ("watermark_ns", "i8"), ("freeze_ns", "i8"),
        ("depth_levels", "i8"), ("form", "i8"), ("normalise", "i8"), ("signed_sqrt", "i8"),
        ("ofi_z", "i8"), ("ofi_z_alpha", "f8"), ("ofi_z_window", "i8"), ("ofi_z_floor", "f8"),
        ("ema_alpha", "f8"), ("size_alpha", "f8"), ("denoise_sigma", "f8"), ("cvd_signed_sqrt", "i8"),
        ("cvd_z", "i8"), ("cvd_z_alpha", "f8"), ("cvd_z_window", "i8"), ("cvd_z_floor", "f8"),
        ("position_limit", "f8"), ("order_rate_limit", "i8"),
        ("flush_ns", "i8"), ("coalesce_ns", "i8"),
        ("weight_ofi", "f8"), ("weight_cvd", "f8"), ("enter", "f8"), ("exit", "f8"), ("require_agreement", "i8"),
        ("fee_bps", "f8"), ("latency_ns", "i8"), ("allocation_usd", "f8"),
    ]
)  # fmt: skip
"""What one symbol in one arm does in one mode."""

ROWS = np.dtype([("modes", PARAMS, (2, 2))])
"""The parameters of one symbol: by arm, by mode."""

CAPS = np.dtype(
    [
        ("is_tradable", "i8"),  # instrument and venue are on the lists
        ("max_price_deviation_bps", "f8"), ("max_order_value_usd", "f8"), ("max_orders_per_min", "i8"),
        ("max_position_usd", "f8"),
    ]
)  # fmt: skip
"""Limits that no candidate can change."""

MOMENTS = np.dtype([("count", "i8"), ("mean", "f8"), ("var", "f8")])
Z_STATE = np.dtype([("moments", MOMENTS), ("ring", "f8", (Z_RING,))])
"""What a value is compared with: exponential moments, and the last values themselves."""

FIT = np.dtype([("n", "i8"), ("sx", "f8"), ("sy", "f8"), ("sxx", "f8"), ("syy", "f8"), ("sxy", "f8")])
"""Sums of a regression of y on x."""

IC = np.dtype([("pairs", FIT), ("hits", "i8"), ("joint", "i4", (JOINT_BINS, JOINT_BINS))])
"""One horizon: sums over (clipped z, clipped scaled return), and their joint histogram (rows z, columns return)."""

SUMS = np.dtype(
    [("n", "i8"), ("total", "f8"), ("squares", "f8"), ("hist", "i8", (HIST_BINS,)), ("ic", IC, (MAX_HORIZONS,))]
)
"""One signal of one arm in one window."""

WINDOW = np.dtype(
    [
        ("signals", SUMS, (2,)), ("fit", FIT), ("transitions", "i8"), ("active_ticks", "i8"), ("is_mixed", "i8"),
        ("gross_bps", "f8"), ("fees_bps", "f8"), ("turnover", "f8"), ("max_drawdown_bps", "f8"),
        ("orders", "i8"), ("refused", "i8"), ("capped", "i8"),
    ]
)  # fmt: skip
"""What accumulates in one window of one arm; cleared when the window closes. `is_mixed`: parameters changed inside."""

SIGNAL = np.dtype(
    [
        ("bucket_end_ns", "i8"), ("epoch", "i8"), ("mode", "i8"), ("gaps", "i8"), ("lots", "i8"),
        ("ofi_best", "f8"), ("ofi_multi", "f8"), ("z_ofi", "f8"), ("z_cvd", "f8"), ("strength", "f8"), ("mid", "f8"),
    ]
)  # fmt: skip
"""One published value of an arm. NaN is not known; `lots` is the cumulative volume delta up to the bucket's end."""

ACTIVITY = np.dtype(
    [
        ("start_ns", "i8"), ("end_ns", "i8"), ("bin", "i8"), ("bin_end_ns", "i8"), ("bin_ns", "i8"),
        ("trades", "f8", (ACTIVITY_BINS,)),
        ("quotes", "f8", (ACTIVITY_BINS,)), ("volume_usd", "f8", (ACTIVITY_BINS,)),
        ("spread_bps", "f8", (ACTIVITY_BINS,)),
        ("second_mid", "f8"), ("square_returns", "f8"), ("return_count", "i8"),
    ]
)  # fmt: skip
"""One market window of one arm, sampled into at most 64 bins."""

ARM = np.dtype(
    [
        ("epoch", "i8"),  # of the snapshot it runs on
        ("mode", "i8"), ("decided", "i8"), ("agreeing", "i8"), ("schedule_active", "i8"), ("market_active", "i8"),
        ("last_change_ns", "i8"), ("last_reason", "i8"),
        ("transition_counts", "i8", (2, 4)),  # mode gone to, reason
        ("ticks_in_mode", "i8", (2,)),
        ("next_bucket_ns", "i8"), ("bucket_ns", "i8"), ("frozen_until_ns", "i8"),
        ("ofi_value", "f8"), ("ofi_z", "f8"), ("cvd_z", "f8"), ("strength", "f8"),
        ("ofi", Z_STATE), ("cvd", Z_STATE), ("size", MOMENTS), ("cvd_ema", "f8"),
        ("weights", "f8", (MAX_LEVELS,)), ("covariance", "f8", (MAX_LEVELS, MAX_LEVELS)),
        ("exported_ofi_z", "f8"), ("exported_cvd_z", "f8"), ("next_flush_ns", "i8"),
        ("position", "i8"), ("wanted", "i8"), ("due_ns", "i8"), ("marked_mid", "f8"),
        ("equity_bps", "f8"), ("peak_bps", "f8"), ("order_count", "i8"), ("orders_ns", "i8", (MAX_ORDERS,)),
        ("activity", ACTIVITY), ("window", WINDOW),
        ("signal_count", "i8"), ("published", SIGNAL, (SIGNAL_RING,)),
    ]
)  # fmt: skip

COUNTS = np.dtype(
    [
        (name, "i8")
        for name in (
            "trades",
            "quotes",
            "depths",
            "gaps",
            "lost",
            "late",
            "crossed",
            "duplicates",
            "refused",
            "inferred",
        )
    ]
)
"""Events of one symbol in one window."""

MARKET = np.dtype(
    [
        ("now_ns", "i8"), ("begun_ns", "i8"), ("phase", "i8"), ("taken_ns", "i8"),
        ("window_end_ns", "i8"), ("next_sample_ns", "i8"), ("last_event_ns", "i8"),
        ("last_trade_ns", "i8"), ("last_quote_ns", "i8"), ("last_depth_ns", "i8"),  # arrivals that could be used
        ("odd_trades", "i8"), ("odd_quotes", "i8"),  # in a row
        ("has_quote", "i8"), ("bid_px", "f8"), ("bid_qty", "f8"), ("ask_px", "f8"), ("ask_qty", "f8"),
        ("last_quote_id", "i8"), ("last_trade_id", "i8"), ("trade_px", "f8"), ("tick_side", "f8"),
        ("gap_until_ns", "i8"), ("gap_count", "i8"),
        ("crossed_run", "i8"), ("crossed_quotes", "i8"), ("contract_usd", "f8"), ("lots_per_unit", "f8"),
        ("lots", "i8"),  # cumulative volume delta of all trades
        ("newest_bin", "i8"), ("flow", "f8", (RING_BINS,)), ("mid", "f8", (RING_BINS,)), ("delta", "i8", (RING_BINS,)),
        ("quotes_in_bin", "i8", (RING_BINS,)),
        ("level_flow", "f8", (RING_BINS, MAX_LEVELS)), ("level_depth", "f8", (RING_BINS, MAX_LEVELS)),
        ("depth_updates", "i8", (RING_BINS,)),
        ("book_size", "i8", (2,)), ("has_book", "i8"), ("has_depth", "i8"), ("top", "f8", (2, MAX_LEVELS, 2)),
        ("second_mid", "f8"), ("square_returns", "f8"), ("return_count", "i8"),  # of the running window
        ("scales", MOMENTS, (MAX_HORIZONS,)),
        ("tick_trades", "i8"), ("tick_quotes", "i8"), ("tick_volume_usd", "f8"),  # since the last tick
        ("counts", COUNTS), ("caps", CAPS), ("arms", ARM, (2,)),
    ]
)  # fmt: skip
"""One symbol: what both arms share, and the arms.

`top` is side, level, (price, quantity). `taken_ns` is the latest bucket end an arm has read:
what comes later for an earlier time is late. `phase` says what is next at `now_ns`.
"""
