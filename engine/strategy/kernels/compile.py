"""How kernels are compiled, and where the result is kept.

Numba's cache looks only at the file of the outermost function: a change in a function it calls goes
unnoticed. Here the cache's folder carries the digest of all kernel sources, so that a stale
kernel cannot be loaded, and a start does not compile again what was compiled before.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import config, njit

FOLDER = Path(__file__).parent


def sources_digest() -> str:
    """First 12 hex digits of the SHA-256 over the kernels and the memory layout they work on."""
    text = hashlib.sha256()
    for path in sorted([*FOLDER.glob("*.py"), FOLDER.parent / "layout.py", FOLDER.parents[1] / "metrics.py"]):
        text.update(path.name.encode() + b"\0" + path.read_bytes())
    return text.hexdigest()[:12]


def cache_folder() -> Path:
    """Where kernels are kept: NUMBA_CACHE_DIR, beside the sources, or in the user's cache; the first that can be
    written. Raises OSError if none can."""
    name = f"kernels-{sources_digest()}"
    own = [FOLDER / "__pycache__", Path.home() / ".cache" / "graygate"]
    places = [Path(config.CACHE_DIR)] if config.CACHE_DIR else own
    for place in places:
        probe = place / name / "writable"
        with contextlib.suppress(OSError):
            probe.parent.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            return probe.parent
    tried = ", ".join(map(str, places))
    raise OSError(f"no place for compiled kernels: {tried} cannot be written; set NUMBA_CACHE_DIR to a folder that can")


def forget_others() -> None:
    """Remove kernels of other versions of the sources from the cache in use."""
    current = Path(config.CACHE_DIR)
    for folder in current.parent.glob("kernels-*"):
        if folder != current:
            shutil.rmtree(folder, ignore_errors=True)


config.CACHE_DIR = str(cache_folder())

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile on first use, load from the cache afterwards. Division by zero gives inf or NaN, as in numpy."""
    return cast(F, njit(cache=True, error_model="numpy")(function))


def inlined(function: F) -> F:
    """A kernel that becomes part of its callers: for what runs once or more per event."""
    return cast(F, njit(cache=True, error_model="numpy", forceinline=True)(function))
