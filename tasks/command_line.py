"""What all commands share: their options, their voice, and which rollout is meant. Quick to load."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from engine.adapters.journal_file import FileJournal
from engine.clock import SystemClock
from engine.errors import RefusedError
from engine.rollout.state import RolloutState, fold

HOME = Path(os.environ.get("GRAYGATE_HOME", "var"))

Json = Annotated[bool, typer.Option("--json", help="Print one JSON line last, for scripts.")]
Home = Annotated[Path, typer.Option("--home", help="Where rollouts, evidence and reports are kept.")]
Rollout = Annotated[str | None, typer.Option("--rollout", help="Name of the rollout; the latest if not given.")]
Reason = Annotated[str, typer.Option(help="Why; it goes into the journal.")]
Name = Annotated[str, typer.Option(help="Your name, as it shall stand in the journal.")]
Symbols = Annotated[
    list[str] | None, typer.Option("--symbol", help="Only this symbol or ticker; may be given again. All if not given.")
]

console = Console(stderr=True)


def say(sentence: str) -> None:
    """Tell a person something, on standard error."""
    console.print(sentence, soft_wrap=True, highlight=False, markup=False)


def answer(found: dict[str, Any], as_json: bool) -> None:
    """Tell a script something, as the one line on standard output."""
    if as_json:
        typer.echo(json.dumps(found, default=str))


def user() -> str:
    """Who is at the keyboard, where nobody said so."""
    return os.environ.get("USER") or "unknown"


def folder_of(home: Path, rollout: str | None) -> Path:
    """Folder of a rollout: the named one, or the one that was changed last. Raises RefusedError if there is none."""
    rollouts = home / "rollouts"
    if rollout is not None:
        if Path(rollout).name != rollout or not (rollouts / rollout / "rollout.json").exists():
            raise RefusedError(f"there is no rollout {rollout!r} in {rollouts}")
        return rollouts / rollout
    found = sorted((path.parent for path in rollouts.glob("*/rollout.json")), key=_changed_ns)
    if not found:
        raise RefusedError(f"there is no rollout in {rollouts}; start one with graygate rehearse or graygate start")
    return found[-1]


def _changed_ns(folder: Path) -> int:
    """When somebody last wrote down anything about a rollout; its journal alone may be lost."""
    paths = (folder / name for name in ("rollout.json", "journal.jsonl", "journal.head"))
    return max(path.stat().st_mtime_ns for path in paths if path.exists())


def journal_of(folder: Path) -> FileJournal:
    """The journal of a rollout, for one who follows its epoch."""
    return FileJournal(folder / "journal.jsonl", folder.name, SystemClock())


def state_of(folder: Path) -> RolloutState:
    """Where a rollout stands. Raises JournalError."""
    return fold(journal_of(folder).records())
