"""Paper trading: what following the signal would have earned, after spread and fees.

The position is -1, 0 or +1 of the mode's limit, and all results are in bps of that
limit, so that arms with different limits compare. An order is filled at the ask
(buys) or bid (sells) of the first quote at least `latency_ms` after the decision:
never at the mid, never at the quote it was decided on.
"""

from collections import deque

from engine.clock import NS_PER_MS, NS_PER_S
from engine.strategy.params import PaperParams, RiskParams

MINUTE_NS = 60 * NS_PER_S


class PaperAccount:
    """Position, orders and results of one symbol in one arm. Results accumulate until taken."""

    __slots__ = (
        "_due_ns", "_equity_bps", "_mid", "_orders_ns", "_paper", "_peak_bps", "_risk", "_wanted",
        "fees_bps", "gross_bps", "max_drawdown_bps", "order_count", "position", "refused_count", "turnover",
    )  # fmt: skip

    def __init__(self, paper: PaperParams, risk: RiskParams) -> None:
        self._orders_ns: deque[int] = deque()
        self._wanted = 0
        self._due_ns: int | None = None
        self._mid: float | None = None
        self._paper = paper
        self._risk = risk
        self._equity_bps = 0.0
        self.position = 0
        self._clear()

    def _clear(self) -> None:
        self.gross_bps = self.fees_bps = self.turnover = self.max_drawdown_bps = 0.0
        self.order_count = self.refused_count = 0
        self._peak_bps = self._equity_bps

    def change_params(self, paper: PaperParams, risk: RiskParams) -> None:
        """Trade under other costs and limits from here on."""
        self._paper = paper
        self._risk = risk

    def exposure(self) -> float:
        """Position as a share of the allocation."""
        return self.position * self._risk.position_limit

    def want(self, position: int, at_ns: int) -> None:
        """Decide on a position; too many orders in the last minute are refused and counted."""
        if position == self._wanted:
            return
        while self._orders_ns and self._orders_ns[0] <= at_ns - MINUTE_NS:
            self._orders_ns.popleft()
        if len(self._orders_ns) >= self._risk.order_rate_limit_per_min:
            self.refused_count += 1
            return
        self._orders_ns.append(at_ns)
        self.order_count += 1
        self._wanted = position
        self._due_ns = at_ns + self._paper.latency_ms * NS_PER_MS

    def on_quote(self, ts_event_ns: int, bid_px: float, ask_px: float) -> None:
        """Mark to the mid, then fill what is due."""
        mid = 0.5 * (bid_px + ask_px)
        if self.position and self._mid is not None:
            self._earn(self.position * (mid / self._mid - 1.0) * 1e4)
        self._mid = mid
        if self._due_ns is not None and ts_event_ns >= self._due_ns:
            self._fill(bid_px, ask_px, mid)

    def _fill(self, bid_px: float, ask_px: float, mid: float) -> None:
        traded = self._wanted - self.position
        price = ask_px if traded > 0 else bid_px
        cost_bps = abs(traded) * self._paper.fee_bps
        self.fees_bps += cost_bps
        self.turnover += abs(traded)
        self._earn(-traded * (price / mid - 1.0) * 1e4)
        self._equity_bps -= cost_bps
        self._track_drawdown()
        self.position = self._wanted
        self._due_ns = None

    def _earn(self, bps: float) -> None:
        self.gross_bps += bps
        self._equity_bps += bps
        self._track_drawdown()

    def _track_drawdown(self) -> None:
        self._peak_bps = max(self._peak_bps, self._equity_bps)
        self.max_drawdown_bps = max(self.max_drawdown_bps, self._peak_bps - self._equity_bps)

    def take_results(self) -> dict[str, float]:
        """Return what accumulated since the last call, and start again."""
        results = {
            "pnl_bps": self.gross_bps - self.fees_bps,
            "gross_pnl_bps": self.gross_bps,
            "fees_bps": self.fees_bps,
            "turnover": self.turnover,
            "max_drawdown_bps": self.max_drawdown_bps,
            "orders": self.order_count,
            "orders_refused": self.refused_count,
        }
        self._clear()
        return results
