"""What is shipped, running: the host that benchmarks measure."""

from collections.abc import Sequence
from pathlib import Path

from config.loader import load_release
from engine.strategy.caps import Caps
from engine.strategy.events import Instrument
from engine.strategy.host import Deployment, Host
from engine.strategy.params import canonical_json
from engine.strategy.records import Measurement

CONFIG = Path(__file__).resolve().parents[1] / "config"


def shipped_candidate(live: tuple[str, ...]) -> Deployment:
    """The shipped candidate of the last stage, live on these symbols and in shadow on the others."""
    candidate = load_release(CONFIG / "production_full.yaml", {}, {})
    return Deployment("bench", "bench", 1, candidate.fingerprint, canonical_json(candidate.params), live)


def shipped_host(
    instruments: Sequence[Instrument], measurement: Measurement, caps: Caps, live: tuple[str, ...] = (),
    *, with_depth: bool = False,
) -> Host:  # fmt: skip
    """A host with the shipped baseline in one arm and the shipped candidate in the other."""
    stable = load_release(CONFIG / "baseline.yaml", {}, {}).params
    host = Host(instruments, measurement, stable, caps, with_depth=with_depth)
    host.apply(shipped_candidate(live))
    return host
