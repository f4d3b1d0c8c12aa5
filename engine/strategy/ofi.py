"""Order-flow imbalance at the best quotes.

Cont, Kukanov and Stoikov, "The price impact of order book events",
Journal of Financial Econometrics 12(1), 2014, equation (3).
"""

from engine.clock import NS_PER_MS

BIN_NS = 50 * NS_PER_MS
"""Width of one bin of flow: every bucket and window is a whole number of them."""

RING_BINS = 512
"""25.6 s of flow: the longest window plus the longest watermark."""


def order_flow(
    bid_px0: float, bid_qty0: float, ask_px0: float, ask_qty0: float,
    bid_px1: float, bid_qty1: float, ask_px1: float, ask_qty1: float,
) -> float:  # fmt: skip
    """Return e_n, the order flow of the change from quote 0 to quote 1, in base units.

    e_n = 1{P^b1 >= P^b0} q^b1 - 1{P^b1 <= P^b0} q^b0 - 1{P^a1 <= P^a0} q^a1 + 1{P^a1 >= P^a0} q^a0

    >>> order_flow(100, 5, 101, 7, 100, 8, 101, 7)
    3.0
    >>> order_flow(100, 5, 101, 7, 101, 2, 102, 4)
    9.0
    >>> order_flow(100, 5, 101, 7, 99, 9, 100, 6)
    -11.0
    """
    flow = 0.0
    if bid_px1 >= bid_px0:
        flow += bid_qty1
    if bid_px1 <= bid_px0:
        flow -= bid_qty0
    if ask_px1 <= ask_px0:
        flow -= ask_qty1
    if ask_px1 >= ask_px0:
        flow += ask_qty0
    return flow


class FlowRing:
    """Order flow summed into bins of event time.

    Both arms read the same ring: buckets, windows and watermarks are limits on reading,
    so that changing a parameter rebuilds nothing.
    """

    __slots__ = ("_bins", "_newest", "late_count")

    def __init__(self) -> None:
        self._bins = [0.0] * RING_BINS
        self._newest = -1
        self.late_count = 0

    def add(self, ts_event_ns: int, flow: float) -> None:
        """Add flow at its event time; older than the ring is counted as late, not used."""
        index = ts_event_ns // BIN_NS
        if index > self._newest:
            self._clear_up_to(index)
        elif index <= self._newest - RING_BINS:
            self.late_count += 1
            return
        self._bins[index % RING_BINS] += flow

    def total(self, from_ns: int, to_ns: int) -> float:
        """Sum over from_ns <= t < to_ns; both must lie on bin edges."""
        first = max(from_ns // BIN_NS, self._newest - RING_BINS + 1)
        last = min(to_ns // BIN_NS, self._newest + 1)
        return sum(self._bins[index % RING_BINS] for index in range(first, last))

    def _clear_up_to(self, index: int) -> None:
        for new in range(max(self._newest + 1, index - RING_BINS + 1), index + 1):
            self._bins[new % RING_BINS] = 0.0
        self._newest = index
