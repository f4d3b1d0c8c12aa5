"""One rollout, resolved: written once when it is planned, read by everything that takes part."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.errors import ConfigError
from engine.rollout.plan import ANY_SYMBOL, Plan, Stage


@dataclass(frozen=True)
class ReleaseSpec:
    """Parameters as canonical JSON, with the fingerprint they must have."""

    params: str
    fingerprint: str


@dataclass(frozen=True)
class RolloutSpec:
    """`symbols` and `releases` are per stage name; `market_start_ns` is where stage 1 may begin."""

    rollout: str
    plan: Plan
    baseline: ReleaseSpec
    releases: dict[str, ReleaseSpec]
    symbols: dict[str, tuple[str, ...]]
    all_symbols: tuple[str, ...]
    changes: dict[str, dict[str, tuple[str, str]]]
    feed_name: str
    is_simulated: bool
    seed: int | None
    approve: str
    requester: str
    market_start_ns: int
    language: str


def pick_symbols(stage: Stage, available: Sequence[str], where: str) -> tuple[str, ...]:
    """Return the stage's symbols: whitelist order, a bare ticker on every venue, `*` for whatever is left.

    Raises ConfigError for a name that nothing matches, or when there are too few.
    """
    picked: list[str] = []
    for entry in stage.symbols:
        picked += [symbol for symbol in matching(entry, available, where) if symbol not in picked]
    picked = picked[: stage.max_symbols]
    if len(picked) < stage.min_symbols:
        raise ConfigError(
            f"{where}: stage {stage.name} needs at least {stage.min_symbols} symbols, "
            f"its whitelist {list(stage.symbols)} matches {len(picked)} of the feed's"
        )
    return tuple(picked)


def matching(entry: str, available: Sequence[str], where: str) -> list[str]:
    """Symbols of the feed that a whitelist entry names. Raises ConfigError if there are none."""
    found = [symbol for symbol in available if entry in (ANY_SYMBOL, symbol, symbol.split(".")[0])]
    if not found:
        raise ConfigError(f"{where}: symbols: {entry!r} is not in the feed; it has {', '.join(available)}")
    return found
