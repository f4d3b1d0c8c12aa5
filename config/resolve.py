"""From what a file says to what each symbol has: named calendars, and differences per symbol."""

from typing import Any

from engine.errors import ConfigError
from engine.strategy.params import SECTIONS

Tree = dict[str, Any]


def merge(base: Tree, over: Tree) -> Tree:
    """Return both trees as one: mappings merge, everything else of `over` replaces."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def found(value: object) -> str:
    """A value in the words of an error."""
    return "nothing" if value is None else repr(value)


def resolve_symbols(strategy: Tree, calendars: dict[str, list[str]], where: str) -> Tree:
    """Return the tree with whole sections for every symbol that has differences, and dates for calendars.

    A `TICKER.venue` differs from its ticker where that is listed too. Raises ConfigError.
    """
    overrides = strategy.get("per_symbol", {})
    if not isinstance(overrides, dict):
        raise ConfigError(f"{where}: strategy.per_symbol: expected a mapping, found {found(overrides)}")
    general = {name: strategy[name] for name in SECTIONS if name in strategy}
    whole: Tree = {}
    for name, own in overrides.items():
        field = f"strategy.per_symbol.{name}"
        if not isinstance(own, dict):
            raise ConfigError(f"{where}: {field}: expected a mapping, found {found(own)}")
        of_ticker = overrides.get(name.split(".")[0], {})
        base = merge(general, of_ticker) if isinstance(of_ticker, dict) else general
        whole[name] = _with_dates(merge(base, own), calendars, where, f"{field}.schedule")
    return _with_dates({**strategy, "per_symbol": whole}, calendars, where, "strategy.schedule")


def _with_dates(tree: Tree, calendars: dict[str, list[str]], where: str, field: str) -> Tree:
    """Replace `schedule.calendar` by its days, added to the holidays listed."""
    schedule = tree.get("schedule")
    if not isinstance(schedule, dict):
        return tree
    name, holidays = schedule.get("calendar", "none"), schedule.get("holidays")
    if not isinstance(name, str) or name not in calendars:
        known = ", ".join(calendars)
        raise ConfigError(f"{where}: {field}.calendar: must be one of {known}, was {found(name)}")
    plain = {key: value for key, value in schedule.items() if key != "calendar"}
    if isinstance(holidays, list) and all(isinstance(day, str) for day in holidays):
        plain["holidays"] = sorted({*holidays, *calendars[name]})
    return {**tree, "schedule": plain}
