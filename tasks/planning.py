"""From files and flags to a planned rollout in a folder of its own. All is checked before anything is written."""

import json
import re
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from config.loader import FeedSettings, Programme, Release, load_caps, load_programme
from engine.adapters.feeds import Feed, FeedSpec, first_whole_second_ns, open_feed
from engine.adapters.journal_file import FileJournal
from engine.adapters.parquet_store import write_durably
from engine.adapters.processes import ROOT, pid_of, stop
from engine.adapters.service_spec import ServiceSpec, spec_bytes
from engine.clock import NS_PER_S, SystemClock
from engine.errors import ConfigError, FeedError, RefusedError
from engine.rollout.journal import RecordType
from engine.rollout.plan import Plan
from engine.rollout.spec import ReleaseSpec, RolloutSpec, matching, pick_symbols
from engine.strategy.params import canonical_json, digest, needs_depth, params_diff
from engine.strategy.records import Measurement

APPROVE_MODES = ("ask", "auto")
LANGUAGES = ("en", "zh")
MARGIN_S = 2


def default_plan() -> Path:
    """The shipped rehearsal, by its short name where the working folder has it."""
    short = Path("config/rehearsal.yaml")
    return short if short.exists() else ROOT / short


def plan_rollout(
    *, home: Path, plan_path: Path, candidate: Path | None, feed: Path | None, seed: int, speed: float | None,
    approve: str, language: str, environment: Mapping[str, str], requester: str,
) -> Path:  # fmt: skip
    """Resolve and check everything, then write the rollout's folder and return it.

    Raises ConfigError, FeedError or RefusedError with nothing written.
    """
    if approve not in APPROVE_MODES:
        raise ConfigError(f"--approve must be one of {', '.join(APPROVE_MODES)}, was {approve!r}")
    if language not in LANGUAGES:
        raise ConfigError(f"--language must be one of {', '.join(LANGUAGES)}, was {language!r}")
    programme = load_programme(plan_path, candidate, environment)
    if programme.plan.kind != "rehearsal" or programme.feed is None:
        raise RefusedError(
            f"{plan_path}: a {programme.plan.kind} plan cannot be rehearsed; give one with kind: rehearsal"
        )
    feed_spec = _feed_spec(programme, programme.feed, feed, seed, speed)
    market = open_feed(feed_spec)
    spec = _resolve(programme, market, approve, requester, language, None if feed else seed)
    _require_enough_market(spec, market, plan_path)
    folder = home / "rollouts" / spec.rollout
    _set_aside(folder, home)
    _write(folder, spec, feed_spec, programme)
    return folder


def _feed_spec(
    programme: Programme, settings: FeedSettings, feed: Path | None, seed: int, speed: float | None
) -> FeedSpec:
    if speed is not None and not 0 <= speed < 1e9:
        raise ConfigError(f"--speed must be 0 or more, was {speed}")
    start = datetime.fromisoformat(settings.simulated_start).replace(tzinfo=UTC)
    return FeedSpec(
        folder=str(feed.resolve()) if feed is not None else None,
        speed=settings.speed if speed is None else speed,
        seed=seed,
        tickers=settings.simulated_tickers,
        start_ns=int(start.timestamp()) * NS_PER_S,
        duration_s=float(_needed_s(programme.plan) + MARGIN_S),
        with_depth=any(needs_depth(item.params) for item in (programme.baseline, *programme.releases.values())),
    )


def _needed_s(plan: Plan) -> int:
    return plan.warmup_s + sum(stage.observe_s for stage in plan.stages) + MARGIN_S


def _resolve(
    programme: Programme, market: Feed, approve: str, requester: str, language: str, seed: int | None
) -> RolloutSpec:
    plan = programme.plan
    available = [instrument.symbol for instrument in market.instruments()]
    for path, symbol in programme.named_symbols:
        matching(symbol, available, str(path))
    symbols = {stage.name: pick_symbols(stage, available, str(programme.path)) for stage in plan.stages}
    baseline = programme.baseline
    changes = {
        name: {
            field: (str(old), str(new)) for field, (old, new) in params_diff(baseline.params, release.params).items()
        }
        for name, release in programme.releases.items()
    }
    identity = {
        "plan": canonical_json(plan),
        "baseline": baseline.fingerprint,
        "releases": {name: release.fingerprint for name, release in programme.releases.items()},
        "symbols": symbols,
        "feed": market.name,
        "seed": seed,
        "start": market.start_ns,
    }
    return RolloutSpec(
        rollout=f"{plan.kind}-{_slug(market.name)}-{digest(canonical_json(identity))[:8]}",
        plan=plan,
        baseline=_release_spec(baseline),
        releases={name: _release_spec(release) for name, release in programme.releases.items()},
        symbols=symbols,
        all_symbols=tuple(available),
        changes=changes,
        feed_name=market.name,
        is_simulated=market.simulated,
        seed=seed,
        approve=approve,
        requester=requester,
        market_start_ns=first_whole_second_ns(market) + plan.warmup_s * NS_PER_S,
        language=language,
    )


def _release_spec(release: Release) -> ReleaseSpec:
    return ReleaseSpec(canonical_json(release.params), release.fingerprint)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:32]


def _require_enough_market(spec: RolloutSpec, market: Feed, path: Path) -> None:
    observed_s = sum(stage.observe_s for stage in spec.plan.stages)
    has_s = (market.common_span_ns()[1] - spec.market_start_ns) / NS_PER_S
    if has_s < observed_s:
        raise FeedError(
            f"{path}: the stages need {observed_s} s of market after the warm-up, feed {market.name} has {has_s:.0f} s "
            "in which every instrument is heard; shorten observe_s or give a longer recording"
        )


def _set_aside(folder: Path, home: Path) -> None:
    """A rehearsal has the name of what it rehearses; an earlier run of it is kept in the archive."""
    if not folder.exists():
        return
    if pid_of("flow", folder) is not None:
        raise RefusedError(f"rollout {folder.name} is running; follow it with graygate resume, or stop it first")
    stop("service", folder / "service")
    archive = home / "archive"
    archive.mkdir(parents=True, exist_ok=True)
    number = sum(1 for _ in archive.glob(f"{folder.name}.*")) + 1
    shutil.move(folder, archive / f"{folder.name}.{number}")


def _write(folder: Path, spec: RolloutSpec, feed: FeedSpec, programme: Programme) -> None:
    plan = spec.plan
    service = ServiceSpec(
        state_dir=str((folder / "service").resolve()),
        feed=feed,
        measurement=Measurement(plan.measurement_window_s, plan.grid_ms, plan.horizons_ms),
        stable_params=spec.baseline.params,
        stable_fingerprint=spec.baseline.fingerprint,
        caps=load_caps(),
    )
    write_durably(folder / "rollout.json", msgspec.json.encode(spec))
    write_durably(folder / "service" / "service.json", spec_bytes(service))
    body: dict[str, Any] = {
        "kind": plan.kind,
        "plan": digest(canonical_json(plan)),
        "baseline": spec.baseline.fingerprint,
        "releases": {name: release.fingerprint for name, release in spec.releases.items()},
        "files": sorted({str(release.path) for release in programme.releases.values()}),
        "feed": spec.feed_name,
        "simulated": spec.is_simulated,
        "seed": spec.seed,
        "approve": spec.approve,
        "stages": [json.loads(canonical_json(stage)) for stage in plan.stages],
    }
    journal = FileJournal(folder / "journal.jsonl", spec.rollout, SystemClock())
    journal.append(RecordType.ROLLOUT_PLANNED, body, actor=spec.requester)
