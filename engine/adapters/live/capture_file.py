"""One file of a raw capture: gzip, appended to, whole after every flush, mended after a crash."""

import fcntl
import gzip
import itertools
import logging
import os
import shutil
import zlib
from pathlib import Path

from engine.errors import FeedError

logger = logging.getLogger(__name__)

MEMBER_BYTES = 16 * 1024 * 1024
"""Text per gzip member: what a damaged member can cost, and what mending holds in memory."""

READ_BYTES = 4096
"""What mending looks at at once: as much before a damaged place may not be put back."""

GZIP = 31
"""zlib's code for a gzip member with a window of 32 kB."""

LEVEL = 6


class CaptureFile:
    """Appends whole lines to a file as new gzip members; what was in it stays.

    Raises FeedError where another recorder writes to it, OSError where the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by close
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise FeedError(f"capture {path}: another recorder writes to it") from error
        mend(path)
        self._begin()

    def write(self, lines: list[bytes]) -> None:
        """Append lines and hand them to the operating system: they survive the death of this process."""
        text = b"".join(lines)
        self._file.write(self._gzip.compress(text) + self._gzip.flush(zlib.Z_SYNC_FLUSH))
        self._size += len(text)
        if self._size >= MEMBER_BYTES:
            self._file.write(self._gzip.flush())
            self._begin()

    def close(self) -> None:
        """End the last member."""
        if self._size:
            self._file.write(self._gzip.flush())
        self._file.close()

    def _begin(self) -> None:
        self._gzip = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP)
        self._size = 0


def mend(path: Path) -> int:
    """Bring a capture whose recorder died to a clean end; return how many bytes of text the last member kept.

    Whole members stay as they are. Of a broken one at the end, all whole lines are kept; 0 where none is broken.
    Where bytes are damaged, and not only missing at the end, everything from the broken member on is first set aside
    (`<name>.damaged`): good members may follow, or it never was a capture. Raises OSError where that cannot be written.
    """
    size, start, text = path.stat().st_size, 0, []
    gzipped = zlib.decompressobj(GZIP)
    with open(path, "rb") as file:
        while chunk := file.read(READ_BYTES):
            while chunk:
                try:
                    text.append(gzipped.decompress(chunk))
                except zlib.error:
                    _set_aside(path, start)
                    return _replace_end(path, start, text)
                chunk = gzipped.unused_data
                if gzipped.eof:
                    start, text, gzipped = file.tell() - len(chunk), [], zlib.decompressobj(GZIP)
    return _replace_end(path, start, text) if start < size else 0


def _set_aside(path: Path, start: int) -> None:
    """Copy what stands from `start` on to a new file beside it. The file itself stays: it is open and locked."""
    names = (path.with_name(f"{path.name}.damaged{number or ''}") for number in itertools.count())
    damaged = next(name for name in names if not name.exists())
    try:
        with open(path, "rb") as source, open(damaged, "xb") as target:
            source.seek(start)
            shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())
    except OSError:
        damaged.unlink(missing_ok=True)
        raise
    logger.warning("%s is damaged: what stands from byte %d on is kept in %s", path, start, damaged.name)


def _replace_end(path: Path, start: int, text: list[bytes]) -> int:
    """Put the whole lines of `text` where a broken member began."""
    lines = b"".join(text)
    lines = lines[: lines.rfind(b"\n") + 1]
    with open(path, "r+b") as file:
        file.seek(start)
        if lines:
            file.write(gzip.compress(lines, LEVEL))
        file.truncate()
        os.fsync(file.fileno())
    return len(lines)
