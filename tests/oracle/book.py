"""An order book as two dicts, and the flow at each rank straight from the formula: slow, plain, and right."""

import math
from collections.abc import Callable, Iterable, Sequence

Level = tuple[float, float]
"""Price, quantity."""

APPLIED, FIRST, UNUSABLE, REFUSED = 0, 1, 2, 3


class Book:
    """The book of one symbol. `top` is the last usable state: bids, asks, best first, at most `ranks` levels."""

    def __init__(self, capacity: int, ranks: int = 10) -> None:
        self._capacity = capacity
        self._ranks = ranks
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}
        self.top: tuple[list[Level], list[Level]] = ([], [])
        self.has_snapshot = False
        self.crossed_run = 0

    def apply(self, bids: Sequence[Level], asks: Sequence[Level], *, is_snapshot: bool) -> tuple[int, list[float]]:
        """Return the status, and the flow at each rank in base units."""
        no_flow = [0.0] * self._ranks
        if not all(0 < price < math.inf and 0 <= quantity < math.inf for price, quantity in [*bids, *asks]):
            return REFUSED, no_flow
        if is_snapshot:
            self.clear()
            self.has_snapshot = True
            bids, asks = bids[::-1], asks[::-1]  # the furthest comes first
        if self.has_snapshot:
            self._set(self.bids, bids, furthest=min)
            self._set(self.asks, asks, furthest=max)
        if not self.bids or not self.asks or max(self.bids) >= min(self.asks):
            self.crossed_run += 1
            return UNUSABLE, no_flow
        self.crossed_run = 0
        before, self.top = self.top, self._best()
        if not before[0]:
            return FIRST, no_flow
        return APPLIED, [self._flow(rank, before, self.top) for rank in range(self._ranks)]

    def _set(
        self, side: dict[float, float], levels: Sequence[Level], furthest: Callable[[Iterable[float]], float]
    ) -> None:
        for price, quantity in levels:
            if quantity == 0:
                side.pop(price, None)
                continue
            side[price] = quantity
            if len(side) > self._capacity:
                del side[furthest(side)]

    def _best(self) -> tuple[list[Level], list[Level]]:
        bids = sorted(self.bids.items(), reverse=True)[: self._ranks]
        return bids, sorted(self.asks.items())[: self._ranks]

    def _flow(self, rank: int, before: tuple[list[Level], list[Level]], now: tuple[list[Level], list[Level]]) -> float:
        """Cont, Kukanov and Stoikov (2014) at one rank (Xu, Gould and Howison, 2018); an absent level adds nothing."""
        flow = 0.0
        if rank < len(before[0]) and rank < len(now[0]):
            (price0, quantity0), (price1, quantity1) = before[0][rank], now[0][rank]
            flow += (price1 >= price0) * quantity1 - (price1 <= price0) * quantity0
        if rank < len(before[1]) and rank < len(now[1]):
            (price0, quantity0), (price1, quantity1) = before[1][rank], now[1][rank]
            flow += -(price1 <= price0) * quantity1 + (price1 >= price0) * quantity0
        return flow
