"""How kernels are compiled, and where the result is kept.

Numba's cache looks only at the file of the outermost function: a change in a function it calls goes
unnoticed. Here the cache's folder carries the digest of all kernel sources, so that a stale
kernel cannot be loaded, and a start does not compile again what was compiled before.
"""

import hashlib
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


config.CACHE_DIR = str(Path(config.CACHE_DIR or FOLDER / "__pycache__") / f"kernels-{sources_digest()}")

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile on first use, load from the cache afterwards. Division by zero gives inf or NaN, as in numpy."""
    return cast(F, njit(cache=True, error_model="numpy")(function))


def inlined(function: F) -> F:
    """A kernel that becomes part of its callers: for what runs once or more per event."""
    return cast(F, njit(cache=True, error_model="numpy", forceinline=True)(function))
