"""What of the service survives a restart: epoch, latch, what is killed, what is deployed, and the lease.

The standing is written durably before a request is answered. The lease is written with each renewal and need not
survive a loss of power: another boot makes it worthless.
"""

import contextlib
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from engine.adapters.parquet_store import write_durably
from engine.errors import InputError
from engine.strategy.host import Deployment


@dataclass(frozen=True, slots=True)
class Latch:
    """Why the service put the baseline back by itself. It refuses candidates until `rearm` in a later epoch.

    `at_ns` is market time, `swap_ms` how long it took from noticing to the baseline being live on every symbol.
    """

    cause: str
    reason: str
    at_ns: int
    epoch: int
    swap_ms: float


@dataclass(frozen=True, slots=True)
class Standing:
    """`killed` has the epoch of the kill per symbol; `deployment` is None where nothing runs the candidate."""

    epoch: int = 0
    latch: Latch | None = None
    killed: dict[str, int] = field(default_factory=dict)
    deployment: Deployment | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """The last renewal: under which epoch, and when since which boot."""

    epoch: int
    boot_id: str
    mono_ns: int


class DamagedStateError(InputError):
    """What survived a restart cannot be relied on."""


class StandingFiles:
    """`standing.json`, a line with the digest of the line below it, and `lease.json`."""

    def __init__(self, folder: Path) -> None:
        self._standing = folder / "standing.json"
        self._lease = folder / "lease.json"

    def read(self) -> Standing:
        """What was in force; nothing at the first start. Raises DamagedStateError with what is wrong.

        A damaged file is kept aside for a person to look at.
        """
        try:
            named, _, body = self._standing.read_bytes().partition(b"\n")
        except FileNotFoundError:
            if self._lease.exists():
                raise DamagedStateError(f"{self._standing} is missing, and there is a lease beside it") from None
            return Standing()
        except OSError as error:
            raise DamagedStateError(f"{self._standing} cannot be read ({error})") from error
        try:
            if _digest(body) != named:
                raise DamagedStateError(f"{self._standing} is damaged: it does not have the digest that it names")
            return msgspec.json.decode(body, type=Standing)
        except (DamagedStateError, msgspec.DecodeError) as error:
            with contextlib.suppress(OSError):
                os.replace(self._standing, self._standing.with_suffix(".damaged"))
            raise DamagedStateError(str(error)) from error

    def write(self, standing: Standing) -> None:
        """Return once it survives a loss of power. Raises OSError."""
        body = msgspec.json.encode(standing)
        write_durably(self._standing, _digest(body) + b"\n" + body)

    def read_lease(self) -> Lease | None:
        """The last lease that was written; None if there is none to rely on."""
        try:
            return msgspec.json.decode(self._lease.read_bytes(), type=Lease)
        except (OSError, msgspec.DecodeError):
            return None

    def write_lease(self, lease: Lease) -> None:
        """Put it in the place of the one before. Raises OSError."""
        draft = self._lease.with_suffix(".draft")
        draft.write_bytes(msgspec.json.encode(lease))
        os.replace(draft, self._lease)

    def drop_lease(self) -> None:
        """Make sure that a restart finds no lease. Raises OSError."""
        self._lease.unlink(missing_ok=True)


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()
