"""Streams that fall silent while their connection lives."""

import logging
from collections.abc import Iterable

from engine.adapters.live.inbox import Counts

logger = logging.getLogger(__name__)

TRADE_STALLS, BOOK_STALLS = 6, 3
"""Times `stall_s` after which a stream counts as silent: nobody has to trade, but quotes and books move."""


class StreamWatch:
    """When each stream of a connection was last heard. A silence is counted and told of once, until it ends."""

    def __init__(self, streams: Iterable[str], stall_s: float, counts: Counts) -> None:
        self._streams = list(streams)
        self._limits_s = [stall_s * (BOOK_STALLS if _is_book(stream) else TRADE_STALLS) for stream in self._streams]
        self._heard_at = [0.0] * len(self._streams)
        self._is_silent = [False] * len(self._streams)
        self._counts = counts

    def begin(self, now_s: float) -> None:
        """A connection has opened: each stream has its time again to be heard."""
        self._heard_at = [now_s] * len(self._streams)

    def check(self, heard: bytearray, now_s: float) -> bool:
        """Take which streams were heard since the last check, and clear that.

        Return whether quotes or a book have just fallen silent: a new connection may bring them back.
        """
        has_lost_book = False
        for place, stream in enumerate(self._streams):
            if heard[place]:
                heard[place] = 0
                self._heard_at[place], self._is_silent[place] = now_s, False
            elif not self._is_silent[place] and now_s - self._heard_at[place] > self._limits_s[place]:
                self._is_silent[place] = True
                self._counts.silent_streams += 1
                logger.warning("%s has been silent for %.0f s", stream, now_s - self._heard_at[place])
                has_lost_book |= _is_book(stream)
        return has_lost_book


def _is_book(stream: str) -> bool:
    return stream.split("@")[1] in ("bookTicker", "depth")
