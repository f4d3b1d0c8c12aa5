"""The one JSON file that a service is started with."""

from dataclasses import dataclass

import msgspec

from engine.adapters.feeds import FeedSpec
from engine.adapters.live.spec import LiveSpec
from engine.strategy.caps import Caps
from engine.strategy.records import Measurement


@dataclass(frozen=True)
class ServiceSpec:
    """Everything the service needs to know at start. `state_dir` holds socket, port file and undelivered windows.

    Either `feed`, a market to play, or `live`, one to listen to.
    """

    state_dir: str
    measurement: Measurement
    stable_params: str
    stable_fingerprint: str
    caps: Caps
    feed: FeedSpec | None = None
    live: LiveSpec | None = None


def spec_bytes(spec: ServiceSpec) -> bytes:
    """The specification as the file that `main` reads."""
    encoded: bytes = msgspec.json.encode(spec)
    return encoded
