"""YAML and environment to engine values. An error names file, field and what was found.

Files may `extends:` another file of the same folder tree; mappings merge, everything else
replaces. Order of precedence: command line, environment, file.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from pydantic import TypeAdapter, ValidationError

from config.strict_yaml import load_yaml
from engine.errors import ConfigError
from engine.rollout.plan import Plan
from engine.strategy.params import StrategyParams, fingerprint

CONFIG_DIR = Path(__file__).parent
MAX_EXTENDS = 5
ENV_PREFIX = "GRAYGATE__strategy__"

Tree = dict[str, Any]


@dataclass(frozen=True)
class Release:
    """One resolved configuration of the service: what is deployed. `symbols` is its whitelist."""

    path: Path
    params: StrategyParams
    symbols: tuple[str, ...] | None

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
    named = tuple((release.path, symbol) for release in releases.values() for symbol in release.symbols or ())
    return Programme(path, plan, baseline, releases, feed, tuple(dict.fromkeys(named)))


def load_release(path: Path, overrides: Tree, environment: Mapping[str, str]) -> Release:
    """Resolve one configuration file. Raises ConfigError."""
    tree = _load_tree(path)
    unknown = sorted(set(tree) - {"strategy", "symbols"})
    if unknown:
        raise ConfigError(f"{path}: {unknown[0]}: unknown key; a configuration has symbols and strategy")
    strategy = tree.get("strategy")
    if not isinstance(strategy, dict):
        raise ConfigError(f"{path}: strategy: expected a mapping, found {_found(strategy)}")
    merged = _merge(_merge(strategy, overrides), _from_environment(environment))
    params = _validate(StrategyParams, merged, path, "strategy")
    symbols = tree.get("symbols")
    whitelist = _validate(tuple[str, ...], symbols, path, "symbols") if symbols is not None else None
    return Release(path, params, whitelist)


def _load_tree(path: Path, depth: int = 0) -> Tree:
    if depth > MAX_EXTENDS:
        raise ConfigError(f"{path}: extends: more than {MAX_EXTENDS} files deep; is there a circle?")
    tree = load_yaml(path)
    parent = tree.pop("extends", None)
    if parent is None:
        return tree
    if not isinstance(parent, str):
        raise ConfigError(f"{path}: extends: expected a file name, found {_found(parent)}")
    return _merge(_load_tree(path.parent / parent, depth + 1), tree)


def _merge(base: Tree, over: Tree) -> Tree:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _candidate_paths(tree: Tree, path: Path, candidate: Path | None) -> dict[str, Path]:
    stages = tree.get("stages")
    if not isinstance(stages, dict) or not stages:
        raise ConfigError(f"{path}: stages: expected a mapping of stages, found {_found(stages)}")
    paths: dict[str, Path] = {}
    for name, stage in stages.items():
        if not isinstance(stage, dict):
            raise ConfigError(f"{path}: stages.{name}: expected a mapping, found {_found(stage)}")
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
        raise ConfigError(f"{path}: conditions: expected a mapping of conditions, found {_found(conditions)}")
    listed = []
    for metric, condition in conditions.items():
        if not isinstance(condition, dict):
            raise ConfigError(f"{path}: conditions.{metric}: expected a mapping, found {_found(condition)}")
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
        raise ConfigError(f"{path}: {prefix}{key}: expected a file name, found {_found(value)}")
    return value


def _take_mapping(tree: Tree, key: str, path: Path) -> Tree:
    value = tree.pop(key, {})
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: {key}: expected a mapping, found {_found(value)}")
    return value


def _found(value: object) -> str:
    return "nothing" if value is None else repr(value)
