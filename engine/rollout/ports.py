"""What the rollout needs from the world, in its own words."""

from typing import Any, Protocol


class Controlled(Protocol):
    """The control door of a running signal service. Every method raises ServiceError where it does not answer."""

    def status(self) -> dict[str, Any]:
        """Market clock `clock_ns`, live fingerprint per symbol `live`, `epoch`, `boot`, `lease`, `latch`, `health`."""

    def apply(self, **deployment: Any) -> dict[str, Any]:
        """Deploy on all symbols or none. Idempotent. Raises RefusedError for an older epoch or without a lease."""

    def roll_back(self, epoch: int, symbols: list[str] | None = None) -> dict[str, Any]:
        """Make the baseline live again. Idempotent. Raises RefusedError for an older epoch."""

    def renew(self, epoch: int) -> dict[str, Any]:
        """Renew the lease without which a candidate does not stay live. Raises RefusedError for an older epoch."""

    def kill(self, epoch: int, symbols: list[str] | None = None) -> dict[str, Any]:
        """Baseline, flat, and no more orders until `rearm`. Idempotent. Raises RefusedError for an older epoch."""

    def rearm(self, epoch: int) -> dict[str, Any]:
        """Forget latch and kill, under an epoch that is newer than theirs. Raises RefusedError."""


class Service(Controlled, Protocol):
    """The service as the flow sees it: market time to play, windows and figures to collect."""

    def play(self, until_ns: int) -> None:
        """Let the market run up to a market time; a live market needs no permission."""

    def windows(self, after: int) -> dict[str, Any]:
        """Windows with a number above `after`."""

    def scrape(self) -> dict[str, Any]:
        """One operations row."""


class Supervisor(Protocol):
    """Starts and stops the service's process."""

    def is_alive(self) -> bool:
        """Whether the process exists; it may hang nevertheless."""

    def restart(self, *, on_baseline: bool) -> None:
        """Stop the process whatever state it is in and start it; with the rollback switches if `on_baseline`.

        Returns once it answers. Raises ServiceError if it does not.
        """

    def stop(self) -> None:
        """Make sure that no process runs. Raises ServiceError if one does."""


class StandIn(Protocol):
    """Somebody who walks the steps when the flow cannot."""

    def is_working(self) -> bool:
        """Whether a flow or a stand-in is at work on the rollout."""

    def start(self) -> None:
        """Put a stand-in in the place of whoever is at work, who hangs or is gone."""
