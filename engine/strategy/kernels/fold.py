"""Events to window sums: a pure fold of one symbol, two arms on the same events.

There is no clock here but the market's: time moves in ticks of 50 ms, an event belongs to the tick in
which it arrived, and all decisions fall on ticks. So the same events give the same sums bit for bit,
however they are cut into calls and however fast they are played.
"""

import math

import numpy as np

from engine.clock import NS_PER_S
from engine.strategy.kernels import activity, intake, paper, quality, signals
from engine.strategy.kernels.arrays import Floats, Ints, Record, Records
from engine.strategy.kernels.book import clear_book
from engine.strategy.kernels.compile import inlined, kernel
from engine.strategy.layout import ACTIVE, BIN_NS, DEPTH, GAP, MANUAL, MAX_LEVELS, QUIET, QUOTE, TRADE

DONE, MARKET_WINDOW, WINDOW = 0, 1, 2
"""Why a fold came back: all is folded; arms wait for a mode decision; a window waits to be taken."""

BETWEEN_TICKS, DECIDING, CLOSING = 0, 1, 2


@kernel
def fold(
    market: Records, i: int, rows: Records, versions: Ints, measurement: Ints, samples: Floats, books: Floats,
    events: Records, levels: Floats, start: int, until_ns: int,
) -> tuple[int, int]:  # fmt: skip
    """Fold `events[start:]` and every tick up to `until_ns` into symbol `i`; return (next event, status).

    `rows` holds one layout.ROWS record per symbol; `versions` one number per arm that rises when its
    parameters change; `measurement` is window_ns, grid_ns, then each horizon in grid steps; `samples` and
    `books` are indexed by symbol. After MARKET_WINDOW and WINDOW, call again from the event returned.
    """
    m, p = market[i], rows[i]
    adopt(m, p, versions)
    k = start
    flows = np.empty(MAX_LEVELS)
    while True:
        if m.phase == BETWEEN_TICKS:
            edge_ns = m.now_ns + BIN_NS
            k = _fold_arrivals(m, p, books[i], events, levels, k, edge_ns, flows)
            if edge_ns > until_ns:
                return k, DONE
            m.now_ns = edge_ns
            if _sample_activity(m):
                m.phase = DECIDING
                return k, MARKET_WINDOW
        if m.phase != CLOSING:
            m.phase = BETWEEN_TICKS
            _finish_tick(m, p, measurement, samples[i], flows)
            if m.now_ns == m.window_end_ns:
                m.window_end_ns += measurement[0]
                m.phase = CLOSING
                return k, WINDOW
        m.phase = BETWEEN_TICKS


@kernel
def _fold_arrivals(
    m: Record, p: Record, book: Floats, events: Records, levels: Floats, k: int, edge_ns: int, flows: Floats
) -> int:
    """Fold what arrived up to `edge_ns`; return the first event that did not."""
    while k < len(events) and events[k].arrival_ns <= edge_ns:
        event = events[k]
        k += 1
        m.last_event_ns = event.arrival_ns
        if not intake.is_timely(m, event.ts_ns):
            intake.refuse(m, event)
        elif event.kind == QUOTE:
            _on_quote(m, p, event)
        elif event.kind == TRADE:
            _on_trade(m, p, event)
        elif event.kind == DEPTH:
            intake.take_depth(m, book, levels, event, flows)
        elif event.kind == GAP:
            intake.on_gap(m, event.ts_ns)
        else:
            intake.refuse(m, event)
    return k


@kernel
def adopt_all(market: Records, rows: Records, versions: Ints) -> None:
    """Let every arm see the parameters that were just published. Cannot fail."""
    for i in range(len(market)):
        adopt(market[i], rows[i], versions)


@kernel
def adopt(m: Record, rows: Record, versions: Ints) -> None:
    """Where an arm's parameters changed: start counting towards a switch anew, obey a pin at once."""
    for j in range(2):
        arm = m.arms[j]
        if arm.epoch == versions[j]:
            continue
        arm.epoch = versions[j]
        arm.agreeing = 0
        arm.window.is_mixed = 1
        pin = rows.modes[j, QUIET].pin
        if pin >= 0 and pin != arm.mode:
            change_mode(m, rows, j, pin, MANUAL)
        else:
            arm.decided = arm.mode
            activity.set_end(arm.activity, m.now_ns, rows.modes[j, arm.mode].market_ns)
            signals.settle_on_grid(arm, rows.modes[j, arm.mode], m.now_ns, False)


@kernel
def switch_mode(market: Records, i: int, rows: Records, j: int, mode: int, reason: int) -> None:
    """Switch the mode of one arm of one symbol, as the policy decided."""
    change_mode(market[i], rows[i], j, mode, reason)


@kernel
def change_mode(m: Record, rows: Record, j: int, mode: int, reason: int) -> None:
    """Switch an arm's mode: note it, and read the flow on the new mode's grid."""
    arm = m.arms[j]
    arm.mode = arm.decided = mode
    arm.agreeing = 0
    arm.last_change_ns = m.now_ns
    arm.last_reason = reason
    arm.transition_counts[mode, reason] += 1
    arm.window.transitions += 1
    activity.set_end(arm.activity, m.now_ns, rows.modes[j, mode].market_ns)
    signals.settle_on_grid(arm, rows.modes[j, mode], m.now_ns, True)


@inlined
def _on_trade(m: Record, rows: Record, event: Record) -> None:
    signed = intake.take_trade(m, event)
    if signed != 0.0:
        for j in range(2):
            arm = m.arms[j]
            signals.on_trade(arm, rows.modes[j, arm.mode], abs(signed), 1.0 if signed > 0.0 else -1.0)


@inlined
def _on_quote(m: Record, rows: Record, event: Record) -> None:
    if intake.take_quote(m, event):
        for j in range(2):
            arm = m.arms[j]
            paper.on_quote(arm, rows.modes[j, arm.mode], m.caps, event.ts_ns, event.a, event.c)


@inlined
def _sample_activity(m: Record) -> bool:
    """Sample the tick that ends now; return whether a market window of an arm ends with it."""
    is_due = False
    mid = 0.5 * (m.bid_px + m.ask_px)
    spread_bps = (m.ask_px - m.bid_px) / mid * 1e4
    for j in range(2):
        arm = m.arms[j]
        activity.on_tick(arm.activity, m, mid, spread_bps)
        is_due = is_due or m.now_ns == arm.activity.end_ns
    m.counts.trades += m.tick_trades
    m.counts.quotes += m.tick_quotes
    m.tick_trades = m.tick_quotes = 0
    m.tick_volume_usd = 0.0
    return is_due


@inlined
def _finish_tick(m: Record, rows: Record, measurement: Ints, samples: Floats, flows: Floats) -> None:
    """Take signals, decide on positions, sample quality."""
    if m.has_book and signals.is_silent(m, m.last_depth_ns, signals.STALE_NS):
        clear_book(m)
    for j in range(2):
        arm = m.arms[j]
        p = rows.modes[j, arm.mode]
        arm.ticks_in_mode[arm.mode] += 1
        arm.window.active_ticks += arm.mode == ACTIVE
        signals.take_buckets(m, arm, p, m.now_ns, flows)
        if signals.is_silent(m, m.last_trade_ns, signals.NO_TRADE_NS):
            arm.cvd_z = math.nan
        arm.strength = signals.fuse(arm.ofi_z, arm.cvd_z, p)
        if m.now_ns >= arm.next_flush_ns:
            arm.exported_ofi_z, arm.exported_cvd_z = arm.ofi_z, arm.cvd_z
            arm.next_flush_ns = m.now_ns + p.flush_ns
        paper.want(arm, p, m.caps, signals.direction(arm.strength, arm.position, p), m.now_ns)
    if m.has_quote and m.now_ns % NS_PER_S == 0:
        _add_return(m, 0.5 * (m.bid_px + m.ask_px))
    if m.now_ns == m.next_sample_ns:
        m.next_sample_ns += measurement[1]
        if m.has_quote:
            mid = 0.5 * (m.bid_px + m.ask_px)
            quality.sample(m, samples, measurement[2:], m.now_ns // measurement[1], mid)


@kernel
def _add_return(m: Record, mid: float) -> None:
    if m.second_mid > 0.0:
        m.square_returns += math.log(mid / m.second_mid) ** 2
        m.return_count += 1
    m.second_mid = mid
