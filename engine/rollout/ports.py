"""What the rollout needs from the world, in its own words."""

from typing import Any, Protocol


class Service(Protocol):
    """A running signal service: where parameters are deployed and windows come from."""

    def status(self) -> dict[str, Any]:
        """Market clock `clock_ns`, live fingerprint per symbol `live`, `epoch`, `boot`."""

    def play(self, until_ns: int) -> None:
        """Let the market run up to a market time; a live market needs no permission."""

    def apply(self, **deployment: Any) -> dict[str, Any]:
        """Deploy on all symbols or none. Idempotent."""

    def roll_back(self, epoch: int, symbols: list[str] | None = None) -> dict[str, Any]:
        """Make the baseline live again. Idempotent."""

    def windows(self, after: int) -> dict[str, Any]:
        """Windows with a number above `after`."""

    def scrape(self) -> dict[str, Any]:
        """One operations row."""
