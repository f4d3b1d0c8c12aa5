"""How good a signal was, as sums that add over windows.

A signal is sampled on a grid that both arms share, and compared with the mid return
that follows. The contribution of one sample is clip(z, 3) * clip(r / scale, 3); its
mean is an information coefficient that heavy tails cannot dominate. `scale` is an
average absolute return that does not depend on the arm.
"""

from collections import deque
from dataclasses import dataclass, field

from engine.metrics import HIST_BINS, HIST_LOW, HIST_STEP

CLIP = 3.0


def clip(x: float) -> float:
    """Cut at plus and minus 3."""
    return CLIP if x > CLIP else -CLIP if x < -CLIP else x


def hist_bin(z: float) -> int:
    """Index of the histogram bin of z.

    >>> hist_bin(-7.0), hist_bin(-5.0), hist_bin(0.0), hist_bin(4.95), hist_bin(5.0)
    (0, 1, 51, 100, 101)
    """
    return min(HIST_BINS - 1, max(0, int((z - HIST_LOW) / HIST_STEP + 1e-9) + 1)) if z >= HIST_LOW else 0


@dataclass(slots=True)
class IcSums:
    """Sufficient statistics of (clipped z, clipped scaled return) pairs of one horizon."""

    n: int = 0
    sx: float = 0.0
    sy: float = 0.0
    sxx: float = 0.0
    syy: float = 0.0
    sxy: float = 0.0
    hits: int = 0

    def add(self, x: float, y: float) -> None:
        self.n += 1
        self.sx += x
        self.sy += y
        self.sxx += x * x
        self.syy += y * y
        self.sxy += x * y
        self.hits += x * y > 0.0


@dataclass(slots=True)
class SignalSums:
    """One signal of one arm in one window: moments and histogram of z, quality per horizon."""

    horizon_count: int
    n: int = 0
    total: float = 0.0
    squares: float = 0.0
    hist: list[int] = field(default_factory=lambda: [0] * HIST_BINS)
    ic: list[IcSums] = field(init=False)

    def __post_init__(self) -> None:
        self.ic = [IcSums() for _ in range(self.horizon_count)]

    def add_sample(self, z: float) -> None:
        self.n += 1
        self.total += z
        self.squares += z * z
        self.hist[hist_bin(z)] += 1


class PendingSamples:
    """Samples that wait for the return of their horizon, one queue per horizon.

    A pair belongs to the window in which its return is known.
    """

    __slots__ = ("_horizons_ns", "_queues")

    def __init__(self, horizons_ns: tuple[int, ...]) -> None:
        self._horizons_ns = horizons_ns
        self._queues: list[deque[tuple[int, float, tuple[float | None, ...]]]] = [deque() for _ in horizons_ns]

    def push(self, at_ns: int, mid: float, values: tuple[float | None, ...]) -> None:
        """Remember the mid and the values of all signals at a grid point."""
        for queue in self._queues:
            queue.append((at_ns, mid, values))

    def pop_due(self, at_ns: int) -> list[tuple[int, float, tuple[float | None, ...]]]:
        """Return (horizon index, mid then, values then) of every sample whose horizon ends now."""
        due = []
        for index, (queue, horizon_ns) in enumerate(zip(self._queues, self._horizons_ns, strict=True)):
            while queue and queue[0][0] + horizon_ns <= at_ns:
                sampled_ns, mid, values = queue.popleft()
                if sampled_ns + horizon_ns == at_ns:
                    due.append((index, mid, values))
        return due
