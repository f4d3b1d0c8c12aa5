"""Paper trading: what following the signal would have earned, after spread and fees.

The position is -1, 0 or +1 of the mode's limit, and all results are in bps of that limit, so that
arms with different limits compare. An order is filled at the ask (buys) or bid (sells) of the first
quote at least `latency_ns` after the decision: never at the mid, never at the quote it was decided on.

Four caps hold whatever the parameters say: instrument and venue, value and number of orders, price, position.
A symbol that is killed is flat at once, and its cap on instruments lets nothing be opened.
"""

from engine.clock import NS_PER_S
from engine.strategy.kernels.arrays import Record, Records
from engine.strategy.kernels.compile import inlined, kernel
from engine.strategy.layout import MAX_ORDERS

MINUTE_NS = 60 * NS_PER_S


@kernel
def want(arm: Record, p: Record, caps: Record, position: int, at_ns: int) -> None:
    """Decide on a position. Orders over the rate limit are refused, orders over a cap are capped; both are counted.

    A position that is over its cap, because the mode or the parameters changed, is left at once.
    """
    if arm.wanted != 0 and p.position_limit * p.allocation_usd > caps.max_position_usd:
        arm.window.capped += 1
        _order(arm, p, 0, at_ns)
        return
    if position == arm.wanted:
        return
    if _orders_in_last_minute_reach(arm, p.order_rate_limit, at_ns):
        arm.window.refused += 1
        return
    if not _is_within_caps(arm, p, caps, position, at_ns):
        arm.window.capped += 1
        return
    _order(arm, p, position, at_ns)


@kernel
def _order(arm: Record, p: Record, position: int, at_ns: int) -> None:
    arm.orders_ns[arm.order_count % MAX_ORDERS] = at_ns
    arm.order_count += 1
    arm.window.orders += 1
    arm.wanted = position
    arm.due_ns = at_ns + p.latency_ns


@kernel
def _orders_in_last_minute_reach(arm: Record, limit: int, at_ns: int) -> bool:
    if limit <= 0:
        return True
    return arm.order_count >= limit and arm.orders_ns[(arm.order_count - limit) % MAX_ORDERS] > at_ns - MINUTE_NS


@kernel
def _is_within_caps(arm: Record, p: Record, caps: Record, position: int, at_ns: int) -> bool:
    """Whether an order may be sent. Going flat is always allowed, except by the number of orders."""
    if _orders_in_last_minute_reach(arm, caps.max_orders_per_min, at_ns):
        return False
    if position == 0:
        return True
    unit_usd = p.position_limit * p.allocation_usd
    return (
        caps.is_tradable == 1
        and abs(position) * unit_usd <= caps.max_position_usd
        and abs(position - arm.position) * unit_usd <= caps.max_order_value_usd
    )


@inlined
def on_quote(arm: Record, p: Record, caps: Record, ts_ns: int, bid_px: float, ask_px: float) -> None:
    """Mark to the mid, then fill what is due."""
    if arm.position != 0:
        mid = 0.5 * (bid_px + ask_px)
        _earn(arm, arm.position * (mid / arm.marked_mid - 1.0) * 1e4)
        arm.marked_mid = mid
    if arm.due_ns > 0 and ts_ns >= arm.due_ns:
        _fill(arm, p, caps, bid_px, ask_px)


@kernel
def halt(market: Records, i: int, rows: Records) -> None:
    """Both arms of one symbol leave their positions at once, at the present bid or ask; nothing is opened from here on.

    Where no quote is known, they leave at the mid at which they were last valued.
    """
    m = market[i]
    m.caps.is_tradable = 0
    for j in range(2):
        arm = m.arms[j]
        p = rows[i].modes[j, arm.mode]
        held = arm.position
        if held != 0:
            _order(arm, p, 0, m.now_ns)
            bid_px = m.bid_px if m.has_quote else arm.marked_mid
            ask_px = m.ask_px if m.has_quote else arm.marked_mid
            mid = 0.5 * (bid_px + ask_px)
            _earn(arm, held * (mid / arm.marked_mid - 1.0) * 1e4)
            _trade(arm, p, -held, bid_px if held > 0 else ask_px, mid)
        arm.position = arm.wanted = arm.due_ns = 0


@kernel
def _fill(arm: Record, p: Record, caps: Record, bid_px: float, ask_px: float) -> None:
    mid = 0.5 * (bid_px + ask_px)
    arm.marked_mid = mid
    traded = arm.wanted - arm.position
    price = ask_px if traded > 0 else bid_px
    arm.due_ns = 0
    if traded != 0 and abs(price / mid - 1.0) * 1e4 > caps.max_price_deviation_bps:
        arm.wanted = arm.position
        arm.window.capped += 1
        return
    _trade(arm, p, traded, price, mid)
    arm.position = arm.wanted


@kernel
def _trade(arm: Record, p: Record, traded: int, price: float, mid: float) -> None:
    """Pay the fee and the distance to the mid."""
    arm.marked_mid = mid
    cost_bps = abs(traded) * p.fee_bps
    arm.window.fees_bps += cost_bps
    arm.window.turnover += abs(traded)
    _earn(arm, -traded * (price / mid - 1.0) * 1e4)
    arm.equity_bps -= cost_bps
    _track_drawdown(arm)


@kernel
def _earn(arm: Record, bps: float) -> None:
    arm.window.gross_bps += bps
    arm.equity_bps += bps
    _track_drawdown(arm)


@kernel
def _track_drawdown(arm: Record) -> None:
    arm.peak_bps = max(arm.peak_bps, arm.equity_bps)
    arm.window.max_drawdown_bps = max(arm.window.max_drawdown_bps, arm.peak_bps - arm.equity_bps)
