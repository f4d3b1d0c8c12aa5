"""Commands that look and change nothing: status, health."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from engine.adapters.supervisor import guardian_is_alive
from engine.errors import GraygateError
from engine.rollout.state import RolloutState
from tasks.command_line import HOME, Home, Json, Rollout, answer, console, folder_of, say, state_of
from tasks.safety import service_of

look_app = typer.Typer()

UNHEALTHY = 4


@look_app.command()
def status(rollout: Rollout = None, home: Home = HOME, as_json: Json = False) -> None:
    """Where a rollout stands, and what its processes say.

    Example: graygate status --json
    """
    from reports.terminal import stage_table

    folder = folder_of(home, rollout)
    state, is_watched = state_of(folder), guardian_is_alive(folder)
    try:
        service: dict[str, Any] = service_of(folder).status()
    except GraygateError as error:
        service = {"error": str(error)}
    say(f"Rollout {folder.name}: {state.outcome or 'running'} {state.reason}".rstrip())
    console.print(stage_table(state))
    say(f"Attempt: {state.attempt + 1}; epoch: {state.epoch}")
    say(f"Guardian: {'alive' if is_watched else 'not running'}")
    for sentence in _service_sentences(service):
        say(sentence)
    answer(
        {**summary(folder, state), "attempt": state.attempt + 1, "guardian": is_watched, "service": service}, as_json
    )


@look_app.command()
def health(rollout: Rollout = None, home: Home = HOME, as_json: Json = False) -> None:
    """Check service, progress, exposure, lease, latch, guardian and journal, one line each.

    Example: graygate health || graygate rollback --reason "not healthy"

    Exit codes: 0 healthy, 4 not healthy, 3 there is no such rollout.
    """
    from tasks.health import checks

    folder = folder_of(home, rollout)
    found = checks(folder)
    for check in found:
        say(f"{'ok ' if check.is_ok else 'BAD'} {check.name}: {check.sentence}")
    is_healthy = all(check.is_ok for check in found)
    answer({"healthy": is_healthy, "rollout": folder.name, "checks": [asdict(check) for check in found]}, as_json)
    if not is_healthy:
        raise typer.Exit(UNHEALTHY)


def summary(folder: Path, state: RolloutState) -> dict[str, Any]:
    """The result of a rollout as scripts read it."""
    drills = [stage.drill_seconds for stage in state.stages if stage.drill_seconds is not None]
    measured = state.rollback_seconds if state.rollback_seconds is not None else max(drills, default=None)
    digests = [stage.evidence_digest for stage in state.stages if stage.evidence_digest]
    return {
        "outcome": state.outcome,
        "stages": [
            {
                "stage": stage.name,
                "symbols": list(stage.symbols),
                "verdict": stage.verdict.name if stage.verdict is not None else None,
                "windows": stage.windows,
            }
            for stage in state.stages
        ],
        "rollback_seconds": measured,
        "report_html": state.report_html,
        "report_md": state.report_md,
        "journal": str((folder / "journal.jsonl").resolve()),
        "evidence_digest": digests[-1] if digests else None,
    }


def _service_sentences(service: dict[str, Any]) -> list[str]:
    if "error" in service:
        return [f"Service: {service['error']}"]
    lease, latch = service["lease"], service["latch"]
    age = "never renewed" if lease["age_s"] is None else f"renewed {lease['age_s']:.1f} s ago"
    on_candidate = sorted(symbol for symbol, found in service["live"].items() if found != service["stable"])
    return [
        f"Service: answers; the candidate is live on {', '.join(on_candidate) or 'no symbol'}",
        f"Lease: {'live' if lease['is_live'] else 'not live'}, {age}",
        f"Latch: {'none' if latch is None else latch['cause'] + ': ' + latch['reason']}",
        f"Killed: {', '.join(service['killed']) or 'no symbol'}",
    ]
