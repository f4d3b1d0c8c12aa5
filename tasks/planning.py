"""From files and flags to a planned rollout in a folder of its own. All is checked before anything is written."""

import fcntl
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from config.loader import (
    CONFIG_DIR,
    FeedSettings,
    Programme,
    Release,
    load_caps,
    load_guardrails,
    load_market,
    load_programme,
)  # fmt: skip
from engine.adapters.feeds import FeedSpec, first_whole_second_ns, open_feed
from engine.adapters.journal_file import FileJournal
from engine.adapters.live.spec import LiveSpec, listed
from engine.adapters.parquet_store import write_durably
from engine.adapters.processes import ROOT, pid_of, stop
from engine.adapters.service_spec import ServiceSpec, spec_bytes
from engine.clock import NS_PER_S, Clock, SystemClock
from engine.errors import ConfigError, FeedError, RefusedError
from engine.rollout.journal import RecordType
from engine.rollout.plan import Plan
from engine.rollout.spec import ReleaseSpec, RolloutSpec, matching, pick_symbols
from engine.rollout.state import RolloutState, fold
from engine.strategy.params import canonical_json, digest, needs_depth, params_diff
from engine.strategy.records import Measurement

APPROVE_MODES = ("ask", "auto")
LANGUAGES = ("en", "zh")
MARGIN_S = 2
MARKET_FILE = CONFIG_DIR / "market.yaml"


def default_plan() -> Path:
    """The shipped rehearsal, by its short name where the working folder has it."""
    short = Path("config/rehearsal.yaml")
    return short if short.exists() else ROOT / short


@dataclass(frozen=True)
class Market:
    """What a rollout is planned on: a feed to play, with its `seed` if it is simulated, or a live market.

    `first_ns` is where its market time begins, `seconds` how much there is; None: it does not end.
    """

    source: FeedSpec | LiveSpec
    name: str
    symbols: tuple[str, ...]
    is_simulated: bool
    seed: int | None
    first_ns: int
    start_ns: int
    seconds: float | None


def plan_rollout(
    *, home: Path, plan_path: Path, candidate: Path | None, feed: Path | None, seed: int, speed: float | None,
    approve: str, language: str, environment: Mapping[str, str], requester: str, market: Path | None = None,
    may_be_live: bool = False, clock: Clock | None = None,
) -> Path:  # fmt: skip
    """Resolve and check everything, then write the rollout's folder and return it.

    A production plan needs `may_be_live`, and has the live market of the file `market`, config/market.yaml if None.
    Raises ConfigError, FeedError or RefusedError with nothing written; also while another rollout is not over.
    """
    if approve not in APPROVE_MODES:
        raise ConfigError(f"--approve must be one of {', '.join(APPROVE_MODES)}, was {approve!r}")
    if language not in LANGUAGES:
        raise ConfigError(f"--language must be one of {', '.join(LANGUAGES)}, was {language!r}")
    programme = load_programme(plan_path, candidate, environment)
    if may_be_live and programme.plan.kind == "production":
        _require_no_feed(programme, feed, speed, approve)
        found = _live_market(programme, market or MARKET_FILE, clock or SystemClock())
    elif market is not None:
        raise RefusedError(f"{plan_path}: a rehearsal has a recorded or simulated market, not a live one")
    else:
        found = _feed_market(programme, feed, seed, speed)
    spec = _resolve(programme, found, approve, requester, language)
    _require_enough_market(spec, found, plan_path)
    folder = home / "rollouts" / spec.rollout
    with _alone(home):
        _require_free(home, folder)
        _set_aside(folder, home)
        _write(folder, spec, found, programme)
    return folder


def _feed_market(programme: Programme, folder: Path | None, seed: int, speed: float | None) -> Market:
    if programme.plan.kind != "rehearsal" or programme.feed is None:
        raise RefusedError(
            f"{programme.path}: a {programme.plan.kind} plan cannot be rehearsed; give one with kind: rehearsal"
        )
    source = _feed_spec(programme, programme.feed, folder, seed, speed)
    feed = open_feed(source)
    first_ns = first_whole_second_ns(feed)
    return Market(
        source=source, name=feed.name, symbols=tuple(instrument.symbol for instrument in feed.instruments()),
        is_simulated=feed.simulated, seed=None if folder else seed, first_ns=first_ns, start_ns=feed.start_ns,
        seconds=(feed.common_span_ns()[1] - first_ns) / NS_PER_S,
    )  # fmt: skip


def _require_no_feed(programme: Programme, feed: Path | None, speed: float | None, approve: str) -> None:
    if feed is not None or speed is not None:
        raise RefusedError(f"{programme.path}: a production plan runs on a live market; --feed and --speed are for "
                           "rehearsal plans")  # fmt: skip
    if approve == "auto":
        raise RefusedError(f"{programme.path}: automatic approval is for rehearsals only; production asks a person")


def _live_market(programme: Programme, path: Path, clock: Clock) -> Market:
    """A live market's time is the wall clock's."""
    live = load_market(path)
    without = [market.market for market in live.markets if market.depth is None]
    if without and _needs_depth(programme):
        raise ConfigError(f"{path}: depth: the parameters of {programme.path} need the order book, found none")
    first_ns = (clock.now_ns() // NS_PER_S + 1) * NS_PER_S
    found = listed(live)
    venues = dict.fromkeys(one.symbol.rpartition(".")[2] for one in found)
    return Market(live, "-".join(venues), tuple(one.symbol for one in found), False, None, first_ns, first_ns, None)


def _needs_depth(programme: Programme) -> bool:
    return any(needs_depth(item.params) for item in (programme.baseline, *programme.releases.values()))


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
        with_depth=_needs_depth(programme),
    )


def _needed_s(plan: Plan) -> int:
    return plan.warmup_s + sum(stage.observe_s for stage in plan.stages) + MARGIN_S


def _resolve(programme: Programme, market: Market, approve: str, requester: str, language: str) -> RolloutSpec:
    plan, available = programme.plan, market.symbols
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
        "seed": market.seed,
        "start": market.start_ns,
    }
    return RolloutSpec(
        rollout=f"{plan.kind}-{_slug(market.name)}-{digest(canonical_json(identity))[:8]}",
        plan=plan,
        baseline=_release_spec(baseline),
        releases={name: _release_spec(release) for name, release in programme.releases.items()},
        symbols=symbols,
        all_symbols=available,
        changes=changes,
        feed_name=market.name,
        is_simulated=market.is_simulated,
        seed=market.seed,
        approve=approve,
        requester=requester,
        market_start_ns=market.first_ns + plan.warmup_s * NS_PER_S,
        language=language,
    )


def _release_spec(release: Release) -> ReleaseSpec:
    return ReleaseSpec(canonical_json(release.params), release.fingerprint)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:32]


def _require_enough_market(spec: RolloutSpec, market: Market, path: Path) -> None:
    if market.seconds is None:
        return
    observed_s = sum(stage.observe_s for stage in spec.plan.stages)
    has_s = market.seconds - spec.plan.warmup_s
    if has_s < observed_s:
        raise FeedError(
            f"{path}: the stages need {observed_s} s of market after the warm-up, feed {market.name} has {has_s:.0f} s "
            "in which every instrument is heard; shorten observe_s or give a longer recording"
        )


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One planner at a time."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "planning.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _require_free(home: Path, folder: Path) -> None:
    """One rollout at a time: another that is not over holds the place. A plan that never ran may be made again."""
    for path in sorted((home / "rollouts").glob("*/rollout.json")):
        state = _state_of(path.parent)
        has_run = bool(state.guardian or state.service_starts)
        if state.outcome is None and (has_run or path.parent != folder):
            raise RefusedError(
                f"rollout {path.parent.name} is not over, and there is one at a time; go on with it (graygate resume), "
                "or end it (graygate hold, or graygate rollback) and stop its processes (graygate stop)"
            )


def _state_of(folder: Path) -> RolloutState:
    return fold(FileJournal(folder / "journal.jsonl", folder.name, SystemClock()).records())


def _set_aside(folder: Path, home: Path) -> None:
    """A rehearsal has the name of what it rehearses; an earlier run of it is kept in the archive."""
    if not folder.exists():
        return
    if pid_of("flow", folder) is not None:
        raise RefusedError(f"rollout {folder.name} is running; follow it with graygate resume, or stop it first")
    stop("guardian", folder)
    stop("service", folder / "service")
    archive = home / "archive"
    archive.mkdir(parents=True, exist_ok=True)
    number = sum(1 for _ in archive.glob(f"{folder.name}.*")) + 1
    shutil.move(folder, archive / f"{folder.name}.{number}")


def _write(folder: Path, spec: RolloutSpec, market: Market, programme: Programme) -> None:
    plan = spec.plan
    service = ServiceSpec(
        state_dir=str((folder / "service").resolve()),
        feed=market.source if isinstance(market.source, FeedSpec) else None,
        live=market.source if isinstance(market.source, LiveSpec) else None,
        measurement=Measurement(plan.measurement_window_s, plan.grid_ms, plan.horizons_ms),
        stable_params=spec.baseline.params,
        stable_fingerprint=spec.baseline.fingerprint,
        caps=load_caps(),
        guardrails=load_guardrails(),
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
