"""What comes in: trades, best quotes, depth and gaps of one symbol, checked before anything remembers them.

What cannot be right is refused and counted; it must not spoil what follows.
"""

import math

from engine.clock import NS_PER_S
from engine.strategy.kernels.arrays import Floats, Record
from engine.strategy.kernels.book import APPLIED, REFUSED, UNUSABLE, apply_depth, clear_book
from engine.strategy.kernels.compile import inlined, kernel
from engine.strategy.kernels.flow import bin_at
from engine.strategy.kernels.numerics import order_flow
from engine.strategy.layout import BIN_NS, DEPTH, MAX_AHEAD_NS, MAX_LEVELS, RING_MASK

MAX_CROSSED_RUN = 5
"""Crossed quotes in a row after which the last good one is forgotten: the next only sets the state."""

MAX_NUMBER = 1e15
MAX_LOTS = 2.0**53
"""Prices and quantities beyond are refused: a lot must be exact, and a square finite."""

MAX_VOLUME_DELTA = 2**62
"""Lots. A sum that would come near the end of its range is refused, not wrapped."""

MAX_TRADE_JUMP = 10_000_000
MAX_UPDATE_JUMP = 10**12
"""An id that is further ahead is refused: it would make all that follow look old."""

MAX_ODD_RUN = 10_000
"""Old ids or implausible prices in a row, more than a rotated connection repeats, after which it is the memory that
is taken to be wrong: the venue counts anew, or the price did move."""

MAX_BEHIND_NS = 60 * NS_PER_S
"""An event older than this is refused: its time cannot be right."""


@inlined
def is_timely(m: Record, ts_ns: int) -> bool:
    """Whether an event's time can be right."""
    return m.now_ns - MAX_BEHIND_NS <= ts_ns <= m.now_ns + BIN_NS + MAX_AHEAD_NS


@kernel
def refuse(m: Record, event: Record) -> None:
    """Count an event that may not be used. A book that lacks a change is wrong: it is forgotten."""
    m.counts.refused += 1
    if event.kind == DEPTH:
        clear_book(m)


@kernel
def on_gap(m: Record, ts_ns: int) -> None:
    """Events are missing: the next quote only sets the state, and windows that touch the gap give no z."""
    m.counts.gaps += 1
    m.gap_count += 1
    m.gap_until_ns = max(m.gap_until_ns, ts_ns)
    m.has_quote = 0
    for j in range(2):
        m.arms[j].cvd_z = math.nan  # until the next trade
    clear_book(m)


@kernel
def inferred_side(m: Record, price: float) -> float:
    """Side of a trade whose venue gives none: above the mid a purchase, below a sale, at it the side of the last
    change of trade prices; 0 where nothing says.

    Lee and Ready, "Inferring trade direction from intraday data", Journal of Finance 46(2), 1991.
    """
    if m.has_quote:
        mid = 0.5 * (m.bid_px + m.ask_px)
        if price != mid:
            return 1.0 if price > mid else -1.0
    if m.trade_px > 0.0 and price != m.trade_px:
        return 1.0 if price > m.trade_px else -1.0
    return m.tick_side


@inlined
def note_price(m: Record, price: float) -> None:
    """Remember which way trade prices went last."""
    if price != m.trade_px:
        if m.trade_px > 0.0:
            m.tick_side = 1.0 if price > m.trade_px else -1.0
        m.trade_px = price


@inlined
def is_plausible(m: Record, price: float) -> bool:
    """Whether a price is less than a factor of two from the last known mid, or trade; the first is."""
    reference = 0.5 * (m.bid_px + m.ask_px) if m.bid_px > 0.0 else m.trade_px
    return reference == 0.0 or 0.5 * reference < price < 2.0 * reference


@kernel
def odd_trade(m: Record) -> None:
    """Note a trade that does not fit what came before; after too many in a row, start over."""
    m.odd_trades += 1
    if m.odd_trades > MAX_ODD_RUN:
        m.odd_trades = 0
        m.last_trade_id = -1
        m.trade_px = 0.0
        m.bid_px = 0.0


@kernel
def odd_quote(m: Record) -> None:
    """Note a quote that does not fit what came before; after too many in a row, start over."""
    m.odd_quotes += 1
    if m.odd_quotes > MAX_ODD_RUN:
        m.odd_quotes = 0
        m.last_quote_id = -1
        m.has_quote = 0
        m.bid_px = 0.0
        m.trade_px = 0.0


@inlined
def side_of(m: Record, event: Record) -> float:
    """+1 if the buyer was the aggressor, -1 if the seller, 0 if it is not known."""
    if event.c == 0.0 and event.d == 1.0:
        return inferred_side(m, event.a)
    return event.c


@inlined
def take_trade(m: Record, event: Record) -> float:
    """Count a trade and add its volume; return its value in quote currency with the aggressor's sign, 0 if it may
    not be used."""
    price, qty = event.a, event.b
    is_sound = (price > 0.0) & (qty > 0.0) & (price < MAX_NUMBER) & (qty * m.lots_per_unit <= MAX_LOTS)
    if not (is_sound and is_plausible(m, price)):
        m.counts.refused += 1
        odd_trade(m)
        return 0.0
    if event.id >= 0 and m.last_trade_id >= 0 and not _follows(m, event.id):
        return 0.0
    m.last_trade_id = max(m.last_trade_id, event.id)
    m.odd_trades = 0
    aggressor = side_of(m, event)
    note_price(m, price)
    lots = math.floor(aggressor * qty * m.lots_per_unit + 0.5)
    if abs(aggressor) != 1.0 or abs(m.lots + lots) > MAX_VOLUME_DELTA:
        m.counts.refused += 1
        return 0.0
    m.counts.inferred += event.d == 1.0
    slot = bin_at(m, event.ts_ns)
    m.lots += lots
    if slot >= 0:
        m.delta[slot] += lots
    m.counts.late += event.ts_ns < m.taken_ns
    value = price * qty if m.contract_usd == 0.0 else qty * m.contract_usd
    m.tick_trades += 1
    m.tick_volume_usd += value
    m.last_trade_ns = event.arrival_ns
    return aggressor * value


@inlined
def _follows(m: Record, trade_id: int) -> bool:
    """Whether a trade is newer than the last; what is missing between them is counted."""
    if trade_id <= m.last_trade_id:
        m.counts.duplicates += 1
        odd_trade(m)
        return False
    missing = trade_id - m.last_trade_id - 1
    if missing > MAX_TRADE_JUMP:
        m.counts.refused += 1
        odd_trade(m)
        return False
    if missing:
        m.counts.lost += missing
        m.counts.gaps += 1
        m.gap_count += 1
    return True


@inlined
def take_quote(m: Record, event: Record) -> bool:
    """Add the order flow of a new best quote; return whether it may be used."""
    bid_px, bid_qty, ask_px, ask_qty = event.a, event.b, event.c, event.d
    # One branch instead of eight: NaN fails each comparison, and what is too large the sum.
    is_positive = (bid_px > 0.0) & (bid_qty > 0.0) & (ask_px > 0.0) & (ask_qty > 0.0)
    is_sound = is_positive & (bid_px + bid_qty + ask_px + ask_qty < MAX_NUMBER)
    if not (is_sound and is_plausible(m, 0.5 * (bid_px + ask_px))) or (
        event.id > m.last_quote_id + MAX_UPDATE_JUMP and m.last_quote_id >= 0
    ):
        m.counts.refused += 1
        odd_quote(m)
        return False
    if event.id >= 0 and event.id <= m.last_quote_id:
        m.counts.duplicates += 1
        odd_quote(m)
        return False
    m.last_quote_id = max(m.last_quote_id, event.id)
    m.odd_quotes = 0
    if bid_px >= ask_px:
        m.counts.crossed += 1
        m.crossed_quotes += 1
        if m.crossed_quotes > MAX_CROSSED_RUN:
            m.has_quote = 0
        return False
    m.crossed_quotes = 0
    m.tick_quotes += 1
    m.counts.late += event.ts_ns < m.taken_ns
    _add_flow(m, event)
    m.has_quote = 1
    m.bid_px, m.bid_qty, m.ask_px, m.ask_qty = bid_px, bid_qty, ask_px, ask_qty
    m.last_quote_ns = event.arrival_ns
    return True


@inlined
def _add_flow(m: Record, event: Record) -> None:
    """Add the order flow of a quote to its bin, and its mid. The first after a hole only sets the state, and the
    windows that touch the hole give no z."""
    slot = bin_at(m, event.ts_ns)
    if m.has_quote:
        if slot >= 0:
            m.flow[slot] += order_flow(m.bid_px, m.bid_qty, m.ask_px, m.ask_qty, event.a, event.b, event.c, event.d)
    else:
        m.gap_until_ns = max(m.gap_until_ns, event.ts_ns)
    if slot >= 0:
        mid = 0.5 * (event.a + event.c)
        m.mid[slot] = mid
        m.quotes_in_bin[slot] += 1
        if event.ts_ns < m.newest_bin * BIN_NS:
            _carry_forward(m, event.ts_ns // BIN_NS + 1, mid)


@kernel
def _carry_forward(m: Record, index: int, mid: float) -> None:
    """Let a mid that came late count up to the next bin that has a quote of its own."""
    while index <= m.newest_bin and m.quotes_in_bin[index & RING_MASK] == 0:
        m.mid[index & RING_MASK] = mid
        index += 1


@kernel
def take_depth(m: Record, book: Floats, levels: Floats, event: Record, flow: Floats) -> None:
    """Apply one depth message to the book and add the order flow of each of its ranks."""
    m.has_depth = 1
    if m.has_book == 0 and event.d != 1.0:
        m.counts.depths += 1  # it waits for a snapshot
        return
    first, bids, asks = int(event.a), int(event.b), int(event.c)
    fits = first >= 0 and bids >= 0 and asks >= 0 and first + bids + asks <= len(levels) and book.shape[2] > 1
    status = apply_depth(m, book[0], book[1], levels, first, bids, asks, event.d == 1.0, flow) if fits else REFUSED
    if status == REFUSED:
        m.counts.refused += 1
    if status == REFUSED or m.crossed_run > MAX_CROSSED_RUN:
        clear_book(m)  # what follows would build on a book that is wrong; the feed owes a snapshot
        return
    m.counts.depths += 1
    m.last_depth_ns = event.arrival_ns
    m.counts.crossed += status == UNUSABLE
    slot = bin_at(m, event.ts_ns)
    if status != APPLIED or slot < 0:
        return
    m.depth_updates[slot] += 1
    for level in range(MAX_LEVELS):
        m.level_flow[slot, level] += flow[level]
        m.level_depth[slot, level] += m.top[0, level, 1] + m.top[1, level, 1]
