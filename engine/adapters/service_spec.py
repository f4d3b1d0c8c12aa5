"""The one JSON file that a service is started with."""

from dataclasses import dataclass, field

import msgspec

from engine.adapters.feeds import FeedSpec
from engine.adapters.live.spec import LiveSpec
from engine.strategy.caps import Caps
from engine.strategy.guardrails import GuardrailLimits
from engine.strategy.records import Measurement

LEASE_TTL_S = 20.0


@dataclass(frozen=True)
class ServiceSpec:
    """Everything the service needs to know at start.

    `state_dir` holds socket, port file, undelivered windows and what survives a restart. Either `feed`, a market to
    play, or `live`, one to listen to. A candidate stays live for `lease_ttl_s` seconds after the last renewal.
    """

    state_dir: str
    measurement: Measurement
    stable_params: str
    stable_fingerprint: str
    caps: Caps
    feed: FeedSpec | None = None
    live: LiveSpec | None = None
    guardrails: GuardrailLimits = field(kw_only=True)
    lease_ttl_s: float = LEASE_TTL_S


def spec_bytes(spec: ServiceSpec) -> bytes:
    """The specification as the file that `main` reads."""
    encoded: bytes = msgspec.json.encode(spec)
    return encoded
