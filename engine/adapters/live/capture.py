"""Records a live feed as raw captures that replay reads: the messages as they came, byte for byte.

One line `<recv_ns> <json>` a message, gzip, one file per instrument and UTC day, named
`<market>__<symbol>_<YYYYMMDD>.gz`. Snapshots from REST stand among the messages, where they arrived.
`recv_ns` is the feed's time.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from engine.adapters.live.capture_file import CaptureFile
from engine.adapters.live.feed import LiveFeed
from engine.adapters.live.inbox import Counts
from engine.adapters.live.spec import Listed, LiveSpec
from engine.clock import NS_PER_S, Clock
from engine.errors import FeedError
from engine.strategy.events import EventBatch

FLUSH_S = 1.0

DAY_NS = 24 * 3600 * NS_PER_S


@dataclass(frozen=True)
class Recorded:
    """How far a recording is: accepted lines, their bytes before compression, seconds since it began."""

    lines: int
    bytes: int
    seconds: float
    counts: Counts


class Recorder:
    """Keeps lines until `flush` writes them. One file per instrument and day, opened when its first line comes."""

    def __init__(self, folder: Path) -> None:
        self.lines = 0
        self.bytes = 0
        self._folder = folder
        self._waiting: dict[tuple[Listed, int], list[bytes]] = defaultdict(list)
        self._files: dict[Listed, tuple[int, CaptureFile]] = {}

    def take(self, listed: Listed, arrival_ns: int, message: bytes) -> None:
        """Keep one message. One with a line break cannot stand on a line: JSON needs none, the blank is the same."""
        if b"\n" in message or b"\r" in message:
            message = message.replace(b"\n", b" ").replace(b"\r", b" ")
        self._waiting[listed, arrival_ns // DAY_NS].append(b"%d %b\n" % (arrival_ns, message))
        self.lines += 1
        self.bytes += len(message)

    def flush(self) -> None:
        """Write what is kept. Raises FeedError naming the file."""
        waiting, self._waiting = self._waiting, defaultdict(list)
        for (listed, day), lines in waiting.items():
            path = capture_path(self._folder, listed, day)
            try:
                self._file(listed, day, path).write(lines)
            except OSError as error:
                raise FeedError(f"capture {path}: cannot be written ({error.strerror})") from error

    def close(self) -> None:
        """Write what is kept and end every file."""
        try:
            self.flush()
        finally:
            for _, file in self._files.values():
                file.close()
            self._files.clear()

    def _file(self, listed: Listed, day: int, path: Path) -> CaptureFile:
        open_day, file = self._files.get(listed, (None, None))
        if file is None or open_day != day:
            if file is not None:
                file.close()
            file = CaptureFile(path)
            self._files[listed] = (day, file)
        return file


def capture_path(folder: Path, listed: Listed, day: int) -> Path:
    """File of an instrument and a day, counted from 1970-01-01."""
    date = datetime.fromtimestamp(day * DAY_NS // NS_PER_S, UTC)
    return folder / f"{listed.market}__{listed.ticker.lower()}_{date:%Y%m%d}.gz"


async def record(
    spec: LiveSpec, folder: Path, clock: Clock, dice: random.Random, stop: asyncio.Event,
    duration_s: float | None = None, progress: Callable[[Recorded], None] = lambda recorded: None,
) -> Recorded:  # fmt: skip
    """Record until `stop` is set or `duration_s` is over; `progress` is told every second.

    Files that exist are continued, never overwritten. Raises InputError for a wrong specification, FeedError where a
    file cannot be written or nothing was received.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FeedError(f"capture {folder}: cannot be made ({error.strerror})") from error
    recorder = Recorder(folder)
    feed = LiveFeed(spec, clock, dice, recorder.take)
    begun_ns = clock.mono_ns()

    def so_far() -> Recorded:
        return Recorded(recorder.lines, recorder.bytes, (clock.mono_ns() - begun_ns) / NS_PER_S, feed.counts)

    running = asyncio.ensure_future(feed.run(_ignore, stop))
    try:
        while not running.done():
            left_s = FLUSH_S if duration_s is None else duration_s - so_far().seconds
            if left_s <= 0:
                stop.set()
            await asyncio.wait([running], timeout=min(FLUSH_S, max(left_s, 0.01)))
            recorder.flush()
            progress(so_far())
        running.result()
    finally:
        stop.set()
        await asyncio.gather(running, return_exceptions=True)
        recorder.close()
    if recorder.lines == 0:
        raise FeedError(f"capture {folder}: nothing was received in {so_far().seconds:.0f} s ({_why(feed.counts)})")
    return so_far()


def _ignore(batches: dict[str, EventBatch]) -> None:
    """A recorder keeps messages, not events."""


def _why(counts: Counts) -> str:
    if counts.connects == 0:
        return f"{counts.failed_connects} attempts to connect failed"
    return f"connected, refused {counts.refused.total()} messages"
