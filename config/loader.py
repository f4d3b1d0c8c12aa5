"""YAML and environment to engine values. An error names file, field and what was found.

Files may `extends:` another file of the same folder tree; mappings merge, everything else
replaces. Order of precedence: command line, environment, file. What `per_symbol` says of a
symbol goes before what is said of all.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from pydantic import TypeAdapter, ValidationError

from config.resolve import found, merge, resolve_symbols
from config.strict_yaml import load_yaml
from engine.adapters.live.spec import LiveSpec, MarketSpec, listed
from engine.errors import ConfigError, InputError
from engine.rollout.plan import Plan
from engine.strategy.caps import FOUR, Caps
from engine.strategy.guardrails import GuardrailLimits
from engine.strategy.params import StrategyParams, fingerprint

CONFIG_DIR = Path(__file__).parent
CAPS_FILE = CONFIG_DIR / "caps.yaml"
CALENDARS_FILE = CONFIG_DIR / "calendars.yaml"
MAX_EXTENDS = 5
GUARDRAILS = "guardrails"
ENV_PREFIX = "GRAYGATE__strategy__"

Tree = dict[str, Any]


@dataclass(frozen=True)
class Release:
    """One resolved configuration of the service: what is deployed. `symbols` is its whitelist."""

    path: Path
    params: StrategyParams
    symbols: tuple[str, ...] | None

    @property
    def named_symbols(self) -> tuple[str, ...]:
        """Every symbol or ticker the file speaks of: a feed must have them."""
        return (*(self.symbols or ()), *self.params.per_symbol)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.params)


@dataclass(frozen=True)
class FeedSettings:
    """How a rehearsal plays its market."""

    speed: float
    simulated_start: str
    simulated_tickers: tuple[str, ...]
    __pydantic_config__: ClassVar = {"extra": "forbid", "allow_inf_nan": False, "strict": True}

    def __post_init__(self) -> None:
        if self.speed < 0:
            raise ValueError(f"feed.speed must be >= 0, was {self.speed}")
        datetime.fromisoformat(self.simulated_start)


@dataclass(frozen=True)
class MarketSettings:
    """A live market to release on; the words are those of `graygate record`."""

    market: str
    symbols: tuple[str, ...]
    trades: str = "trade"
    depth: str | None = "100ms"
    ws_url: str | None = None
    rest_url: str | None = None
    __pydantic_config__: ClassVar = {"extra": "forbid", "strict": True}


@dataclass(frozen=True)
class Programme:
    """A plan with everything it refers to, resolved. `releases` are per stage name."""

    path: Path
    plan: Plan
    baseline: Release
    releases: Mapping[str, Release]
    feed: FeedSettings | None
    named_symbols: tuple[tuple[Path, str], ...] = field(default=())


def load_programme(path: Path, candidate: Path | None, environment: Mapping[str, str]) -> Programme:
    """Read a plan and the configurations it names; `candidate` replaces those of all stages.

    Raises ConfigError for the first thing that is wrong.
    """
    tree = _load_tree(path)
    baseline_path = path.parent / _text(tree, "baseline", path)
    overrides = _take_mapping(tree, "overrides", path)
    feed = _validate(FeedSettings, tree.pop("feed"), path, "feed") if "feed" in tree else None
    candidates = _candidate_paths(tree, path, candidate)
    releases = {name: load_release(file, overrides, environment) for name, file in candidates.items()}
    _flatten(tree, path, releases)
    plan = _validate(Plan, tree, path, "")
    baseline = load_release(baseline_path, overrides, environment)
    named = tuple((item.path, symbol) for item in (baseline, *releases.values()) for symbol in item.named_symbols)
    return Programme(path, plan, baseline, releases, feed, tuple(dict.fromkeys(named)))


def load_release(path: Path, overrides: Tree, environment: Mapping[str, str]) -> Release:
    """Resolve one configuration file. Raises ConfigError."""
    tree = _load_tree(path)
    _refuse_caps(tree, path)
    unknown = sorted(set(tree) - {"strategy", "symbols"})
    if unknown:
        raise ConfigError(f"{path}: {unknown[0]}: unknown key; a configuration has symbols and strategy")
    strategy = tree.get("strategy")
    if not isinstance(strategy, dict):
        raise ConfigError(f"{path}: strategy: expected a mapping, found {found(strategy)}")
    merged = merge(merge(strategy, overrides), _from_environment(environment))
    _refuse_caps(merged, path)
    resolved = resolve_symbols(merged, load_calendars(CALENDARS_FILE), str(path))
    params = _validate(StrategyParams, resolved, path, "strategy")
    symbols = tree.get("symbols")
    whitelist = _validate(tuple[str, ...], symbols, path, "symbols") if symbols is not None else None
    return Release(path, params, whitelist)


def load_caps(path: Path = CAPS_FILE) -> Caps:
    """Read the limits of the service. Raises ConfigError, also if one of the four is not there."""
    tree = load_yaml(path)
    missing = [name for name in FOUR if name not in tree]
    if missing:
        raise ConfigError(f"{path}: {missing[0]} is missing; all four caps must be set: {', '.join(FOUR)}")
    tree.pop(GUARDRAILS, None)
    caps: Caps = _validate(Caps, tree, path, "")
    return caps


def load_guardrails(path: Path = CAPS_FILE) -> GuardrailLimits:
    """Read what a live candidate may do before the service takes it back. Raises ConfigError."""
    tree = load_yaml(path)
    if GUARDRAILS not in tree:
        raise ConfigError(f"{path}: {GUARDRAILS} is missing; without limits nothing goes live")
    limits: GuardrailLimits = _validate(GuardrailLimits, tree[GUARDRAILS], path, GUARDRAILS)
    return limits


def load_market(path: Path) -> LiveSpec:
    """Read the live market of a production rollout. Raises ConfigError."""
    found: MarketSettings = _validate(MarketSettings, load_yaml(path), path, "")
    market = MarketSpec(found.market, found.symbols, found.trades, found.depth, found.ws_url, found.rest_url)
    live = LiveSpec((market,))
    try:
        listed(live)
    except InputError as error:
        raise ConfigError(f"{path}: {error}") from error
    return live


def load_calendars(path: Path) -> dict[str, list[str]]:
    """Read lists of days off by name. Raises ConfigError."""
    calendars: dict[str, list[str]] = _validate(dict[str, list[str]], load_yaml(path), path, "")
    return calendars


def _refuse_caps(tree: Tree, path: Path) -> None:
    """A configuration that could set its own limits would have none."""
    for key, value in tree.items():
        if key in ("caps", GUARDRAILS):
            raise ConfigError(f"{path}: {key} live in config/caps.yaml; a candidate cannot set them")
        if isinstance(value, dict):
            _refuse_caps(value, path)


def _load_tree(path: Path, depth: int = 0) -> Tree:
    if depth > MAX_EXTENDS:
        raise ConfigError(f"{path}: extends: more than {MAX_EXTENDS} files deep; is there a circle?")
    tree = load_yaml(path)
    parent = tree.pop("extends", None)
    if parent is None:
        return tree
    if not isinstance(parent, str):
        raise ConfigError(f"{path}: extends: expected a file name, found {found(parent)}")
    return merge(_load_tree(path.parent / parent, depth + 1), tree)


def _candidate_paths(tree: Tree, path: Path, candidate: Path | None) -> dict[str, Path]:
    stages = tree.get("stages")
    if not isinstance(stages, dict) or not stages:
        raise ConfigError(f"{path}: stages: expected a mapping of stages, found {found(stages)}")
    paths: dict[str, Path] = {}
    for name, stage in stages.items():
        if not isinstance(stage, dict):
            raise ConfigError(f"{path}: stages.{name}: expected a mapping, found {found(stage)}")
        paths[name] = candidate or path.parent / _text(dict(stage), "candidate", path, f"stages.{name}.")
    return paths


def _flatten(tree: Tree, path: Path, releases: Mapping[str, Release]) -> None:
    """Turn the named mappings of the file into the lists of the plan."""
    for name, stage in tree["stages"].items():
        stage["candidate"] = str(releases[name].path.name)
        stage.setdefault("symbols", list(releases[name].symbols or ("*",)))
    tree["stages"] = [{"name": name, **stage} for name, stage in tree["stages"].items()]
    conditions = tree.get("conditions")
    if not isinstance(conditions, dict):
        raise ConfigError(f"{path}: conditions: expected a mapping of conditions, found {found(conditions)}")
    listed = []
    for metric, condition in conditions.items():
        if not isinstance(condition, dict):
            raise ConfigError(f"{path}: conditions.{metric}: expected a mapping, found {found(condition)}")
        listed.append({"metric": metric, **condition})
    tree["conditions"] = listed


def _from_environment(environment: Mapping[str, str]) -> Tree:
    """The seed's rollback switches and nested overrides, as a tree to merge."""
    tree: Tree = {}
    if "STRATEGY_MODE" in environment:
        tree["mode"] = environment["STRATEGY_MODE"]
    if "DYNAMIC_MODE_ENABLED" in environment:
        tree["dynamic_mode_enabled"] = _scalar(environment["DYNAMIC_MODE_ENABLED"])
    for name, text in environment.items():
        if name.startswith(ENV_PREFIX):
            node = tree
            *parents, leaf = name.removeprefix(ENV_PREFIX).split("__")
            for depth, parent in enumerate(parents, start=1):
                node = node.setdefault(parent, {})
                if not isinstance(node, dict):
                    where = ".".join(parents[:depth])
                    raise ConfigError(f"environment {name}: strategy.{where} is one value, it has no fields")
            node[leaf] = _scalar(text)
    return tree


def _scalar(text: str) -> Any:
    try:
        return json.loads(text.lower() if text.lower() in ("true", "false") else text)
    except json.JSONDecodeError:
        return text


def _validate(type_: Any, value: Any, path: Path, prefix: str) -> Any:
    """Check a plain value against a type; JSON mode, so that lists may become tuples under strict rules."""
    try:
        return TypeAdapter(type_).validate_json(json.dumps(value))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in (prefix, *first["loc"]) if part != "")
        message = first["msg"].removeprefix("Value error, ")
        where = f"{where}: " if where else ""
        raise ConfigError(f"{path}: {where}{message[0].lower()}{message[1:]}{_was(first)}") from error


def _was(error: Any) -> str:
    value = error.get("input")
    if error["type"] in ("value_error", "missing") or isinstance(value, dict | list):
        return ""
    return f", found {value!r}"


def _text(tree: Tree, key: str, path: Path, prefix: str = "") -> str:
    value = tree.pop(key, None)
    if not isinstance(value, str):
        raise ConfigError(f"{path}: {prefix}{key}: expected a file name, found {found(value)}")
    return value


def _take_mapping(tree: Tree, key: str, path: Path) -> Tree:
    value = tree.pop(key, {})
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: {key}: expected a mapping, found {found(value)}")
    return value
