"""The order book of one symbol, and the order flow at each of its ranks.

A side is two arrays, price and quantity, sorted so that the best price is the last: bids ascend, asks
descend. Most changes happen near the best price, so most shifts are short. A full side forgets its furthest level.
"""

import math

from engine.strategy.kernels.arrays import Floats, Record
from engine.strategy.kernels.compile import kernel
from engine.strategy.layout import MAX_LEVELS

APPLIED, FIRST, UNUSABLE, REFUSED = 0, 1, 2, 3

BID, ASK = 0, 1


@kernel
def apply_depth(
    m: Record,
    px: Floats,
    qty: Floats,
    levels: Floats,
    first: int,
    bids: int,
    asks: int,
    is_snapshot: bool,
    flow: Floats,
) -> int:
    """Apply one depth message to the book of one symbol; return a status.

    `m` is one record of MARKET. `px` and `qty` are float64[2, capacity], bids first. The message is rows
    `first .. first + bids + asks` of `levels`, float64[n, 2], bids first: price, absolute quantity (0 deletes).
    `flow`, float64[MAX_LEVELS], becomes the order flow at each rank since the last usable state, in base units.

    APPLIED: the flow counts.
    FIRST: no state to compare with (after a snapshot); the flow is zero.
    UNUSABLE: the book is crossed, locked or one-sided, or a change came before any snapshot, which is not applied.
        The flow is zero and `m.top` stays as it was; `m.crossed_run` counts how many in a row.
    REFUSED: a number is out of range; nothing of the message was applied.
    """
    flow[:] = 0.0
    if not _is_sound(levels, first, bids, asks):
        return REFUSED
    if is_snapshot:
        _replace_book(m, px, qty, levels, first, first + bids, first + bids + asks)
    elif m.has_book:
        _set_side(m.book_size, px, qty, levels, BID, first, first + bids, 1)
        _set_side(m.book_size, px, qty, levels, ASK, first + bids, first + bids + asks, 1)
    bid_size, ask_size = m.book_size[BID], m.book_size[ASK]
    if bid_size == 0 or ask_size == 0 or px[BID, bid_size - 1] >= px[ASK, ask_size - 1]:
        m.crossed_run += 1
        return UNUSABLE
    m.crossed_run = 0
    is_first = m.top[BID, 0, 1] == 0.0
    _read_top(m.top[BID], px[BID], qty[BID], bid_size, 1.0, not is_first, flow)
    _read_top(m.top[ASK], px[ASK], qty[ASK], ask_size, -1.0, not is_first, flow)
    return FIRST if is_first else APPLIED


@kernel
def clear_book(m: Record) -> None:
    """Forget the book: changes are not applied until the next snapshot, and that one makes no flow."""
    m.has_book = 0
    m.crossed_run = 0
    m.book_size[BID] = 0
    m.book_size[ASK] = 0
    m.top[:] = 0.0


@kernel
def _replace_book(m: Record, px: Floats, qty: Floats, levels: Floats, first: int, middle: int, end: int) -> None:
    """Put a snapshot in place of the book: bids are rows `first .. middle`, asks `middle .. end`.

    Rows go backwards, furthest first, so that each is appended.
    """
    clear_book(m)
    m.has_book = 1
    _set_side(m.book_size, px, qty, levels, BID, middle - 1, first - 1, -1)
    _set_side(m.book_size, px, qty, levels, ASK, end - 1, middle - 1, -1)


@kernel
def _is_sound(levels: Floats, first: int, bids: int, asks: int) -> bool:
    """Whether the rows exist, prices are positive, quantities are not negative, and all are finite."""
    if first < 0 or bids < 0 or asks < 0 or first + bids + asks > len(levels):
        return False
    is_sound = True
    for row in range(first, first + bids + asks):
        is_sound &= 0.0 < levels[row, 0] < math.inf and 0.0 <= levels[row, 1] < math.inf
    return is_sound


@kernel
def _set_side(
    sizes: Record, px: Floats, qty: Floats, levels: Floats, side: int, start: int, stop: int, step: int
) -> None:
    """Set rows `start .. stop`, by `step`, on one side."""
    sign = 1.0 if side == BID else -1.0
    prices, quantities, size = px[side], qty[side], sizes[side]
    for row in range(start, stop, step):
        size = _set_level(prices, quantities, size, sign, levels[row, 0], levels[row, 1])
    sizes[side] = size


@kernel
def _set_level(prices: Floats, quantities: Floats, size: int, sign: float, price: float, quantity: float) -> int:
    """Set the absolute quantity at a price, 0 deletes; return the new number of levels.

    sign * price ascends along the side: sign is +1 for bids, -1 for asks.
    """
    index = _find(prices, size, sign, price)
    if index < size and prices[index] == price:
        if quantity == 0.0:
            size -= 1
            _shift_down(prices[index : size + 1])
            _shift_down(quantities[index : size + 1])
        else:
            quantities[index] = quantity
    elif quantity > 0.0 and size < len(prices):
        _shift_up(prices[index : size + 1])
        _shift_up(quantities[index : size + 1])
        size += 1
        prices[index], quantities[index] = price, quantity
    elif quantity > 0.0 and index > 0:
        _shift_down(prices[:index])
        _shift_down(quantities[:index])
        prices[index - 1], quantities[index - 1] = price, quantity
    return size


@kernel
def _shift_down(values: Floats) -> None:
    """Overwrite the first value by moving the others down one place."""
    for i in range(len(values) - 1):
        values[i] = values[i + 1]


@kernel
def _shift_up(values: Floats) -> None:
    """Overwrite the last value by moving the others up one place."""
    for i in range(len(values) - 1, 0, -1):
        values[i] = values[i - 1]


@kernel
def _find(prices: Floats, size: int, sign: float, price: float) -> int:
    """Number of levels strictly further from the best than a price: a binary search without branches."""
    if size == 0:
        return 0
    key = sign * price
    base, length = 0, size
    while length > 1:
        half = length >> 1
        base += half * int(sign * prices[base + half - 1] < key)
        length -= half
    return base + int(sign * prices[base] < key)


@kernel
def _read_top(
    top: Record, prices: Floats, quantities: Floats, size: int, sign: float, has_flow: bool, flow: Floats
) -> None:
    """Store the best levels of one side in `top`, after adding its part of the flow of every rank to `flow`.

    A rank that is absent before or after contributes 0.
    """
    for rank in range(MAX_LEVELS):
        index = size - 1 - rank
        price = prices[index] if index >= 0 else 0.0
        quantity = quantities[index] if index >= 0 else 0.0
        if has_flow and quantity > 0.0 and top[rank, 1] > 0.0:
            flow[rank] += side_flow(sign, top[rank, 0], top[rank, 1], price, quantity)
        top[rank, 0] = price
        top[rank, 1] = quantity


@kernel
def side_flow(sign: float, price_before: float, qty_before: float, price: float, qty: float) -> float:
    """Return one side's part of the order flow e between two states, base units; sign +1 for bids, -1 for asks.

    Cont, Kukanov and Stoikov, Journal of Financial Econometrics 12(1), 2014:
    e = 1{Pb' >= Pb} qb' - 1{Pb' <= Pb} qb - 1{Pa' <= Pa} qa' + 1{Pa' >= Pa} qa.
    Xu, Gould and Howison, Market Microstructure and Liquidity 4(3-4), 2018, apply it at each rank.
    """
    flow = 0.0
    if sign * price >= sign * price_before:
        flow += qty
    if sign * price <= sign * price_before:
        flow -= qty_before
    return sign * flow
