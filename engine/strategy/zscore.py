"""z-scores against an exponentially weighted baseline that excludes the current value."""

import math


def alpha_of_half_life(steps: float) -> float:
    """Weight of a new value so that old weight halves after `steps` updates."""
    return 1.0 - math.pow(2.0, -1.0 / steps)


def alpha_of_span(span: float) -> float:
    """Weight of a new value for a span in the sense of an N-point moving average: 2 / (N + 1)."""
    return 2.0 / (span + 1.0)


class EwmaZ:
    """Streaming z-score (Finch, "Incremental calculation of weighted mean and variance", 2009).

    The decay is an argument of each update, so a change of parameters rebuilds no state.
    Until 1/n falls below it, plain running moments are used.

    >>> z = EwmaZ(min_count=3)
    >>> [z.update(x, alpha=0.1) for x in (1.0, 3.0, 2.0)]
    [None, None, None]
    >>> round(z.update(4.0, alpha=0.1), 6)
    2.44949
    """

    __slots__ = ("_count", "_mean", "_min_count", "_var")

    def __init__(self, min_count: int) -> None:
        self._min_count = min_count
        self._count = 0
        self._mean = 0.0
        self._var = 0.0

    def update(self, x: float, alpha: float) -> float | None:
        """Return the z of x against what came before it, None while that is too little."""
        deviation = x - self._mean
        ready = self._count >= self._min_count and self._var > 0.0
        z = deviation / math.sqrt(self._var) if ready else None
        self._count += 1
        weight = max(alpha, 1.0 / self._count)
        self._mean += weight * deviation
        self._var = (1.0 - weight) * (self._var + weight * deviation * deviation)
        return z


class EwmaMoments:
    """Streaming mean and standard deviation with the same start-up rule as `EwmaZ`."""

    __slots__ = ("count", "mean", "var")

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.var = 0.0

    def update(self, x: float, alpha: float) -> None:
        deviation = x - self.mean
        self.count += 1
        weight = max(alpha, 1.0 / self.count)
        self.mean += weight * deviation
        self.var = (1.0 - weight) * (self.var + weight * deviation * deviation)

    def sd(self) -> float:
        return math.sqrt(self.var)
