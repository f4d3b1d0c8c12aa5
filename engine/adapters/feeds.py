"""Which market the service listens to."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from engine.adapters.replay import RecordedMarket
from engine.adapters.simulated import SimulatedMarket
from engine.clock import NS_PER_S
from engine.strategy.events import TICK_NS, Instrument, Slice


class Feed(Protocol):
    """A market that can be folded: slices on ticks, from `start_ns` to `end_ns`."""

    name: str
    simulated: bool
    start_ns: int
    end_ns: int

    def instruments(self) -> list[Instrument]:
        """Instruments it carries, by name."""

    def common_span_ns(self) -> tuple[int, int]:
        """Span in which every instrument has events."""

    def slices(self, step_ns: int = TICK_NS) -> Iterator[Slice]:
        """Every tick, in order, in slices of `step_ns` that end on multiples of it."""


@dataclass(frozen=True)
class FeedSpec:
    """A recorded folder, or a simulated market where `folder` is None. `speed` 0 is as fast as possible."""

    folder: str | None
    speed: float
    seed: int
    tickers: tuple[str, ...]
    start_ns: int
    duration_s: float
    with_depth: bool = False


def open_feed(spec: FeedSpec) -> Feed:
    """Open the market. Raises FeedError."""
    if spec.folder is not None:
        return RecordedMarket(Path(spec.folder), with_depth=spec.with_depth)
    start_ns = spec.start_ns // TICK_NS * TICK_NS
    return SimulatedMarket(spec.seed, spec.tickers, start_ns, spec.duration_s)


def first_whole_second_ns(feed: Feed) -> int:
    """First whole second at which every instrument has been heard."""
    return (feed.common_span_ns()[0] // NS_PER_S + 1) * NS_PER_S
