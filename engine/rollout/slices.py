"""Which kind of market a window was in: by mode, by trading session, by volatility."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from engine.clock import NS_PER_S

MODES = ("active", "quiet")
SESSIONS = ("tokyo", "london", "new_york", "off_hours")
TERCILES = ("low", "middle", "high")

NO_SLICE = -1

_LOCAL_HOURS = (
    ("new_york", ZoneInfo("America/New_York"), 9, 17),
    ("london", ZoneInfo("Europe/London"), 8, 17),
    ("tokyo", ZoneInfo("Asia/Tokyo"), 9, 16),
)
"""Name, zone, first hour and the hour of its end by the local clock. Where hours overlap the first one has them."""


def session_of(at_ns: int) -> str:
    """Session of a market time, on every day of the week: these markets do not close.

    By local clocks and so with daylight saving time: in summer Tokyo is 00-07, London 07-13 and
    New York 13-21 UTC; in winter the last two begin and end an hour later.

    >>> session_of(1_736_125_500 * NS_PER_S)
    'tokyo'
    """
    at = datetime.fromtimestamp(at_ns // NS_PER_S, UTC)
    for name, zone, first, end in _LOCAL_HOURS:
        if first <= at.astimezone(zone).hour < end:
            return name
    return "off_hours"


def volatility_terciles(volatility: NDArray[np.float64]) -> NDArray[np.int64]:
    """Position in TERCILES of each window among its symbol's own, shape (symbols, windows); -1 where it is NaN.

    A window that lies on a cut belongs to the lower part.
    """
    codes = np.full(volatility.shape, NO_SLICE)
    for symbol, values in enumerate(volatility):
        known = np.isfinite(values)
        if known.any():
            cuts = np.quantile(values[known], [1 / 3, 2 / 3])
            codes[symbol, known] = np.searchsorted(cuts, values[known])
    return codes
