"""The command line: rehearse, resume, approve, roll back, look. Nothing here loads Prefect.

Commands about a market alone are in `tasks/market_commands.py`.
"""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from engine.adapters.control import ControlClient
from engine.adapters.journal_file import FileJournal
from engine.clock import SystemClock
from engine.errors import GraygateError, RefusedError
from engine.rollout.approvals import ApprovalRequest, submit
from engine.rollout.decision import Answer
from engine.rollout.state import RolloutState, fold
from tasks.market_commands import market_app

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
journal_app = typer.Typer(no_args_is_help=True, help="Look at a rollout's journal.")
app.add_typer(journal_app, name="journal")
app.add_typer(market_app)

console = Console(stderr=True)

HOME = Path(os.environ.get("GRAYGATE_HOME", "var"))

Json = Annotated[bool, typer.Option("--json", help="Print one JSON line last, for scripts.")]
Home = Annotated[Path, typer.Option("--home", help="Where rollouts, evidence and reports are kept.")]
Rollout = Annotated[str | None, typer.Option("--rollout", help="Name of the rollout; the latest if not given.")]


@app.command()
def rehearse(
    feed: Annotated[Path | None, typer.Option(help="Folder of a recorded market; simulated if not given.")] = None,
    candidate: Annotated[Path | None, typer.Option(help="Configuration to release at every stage.")] = None,
    plan: Annotated[Path | None, typer.Option(help="Rollout plan; config/rehearsal.yaml if not given.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the simulated market.")] = 1,
    speed: Annotated[float | None, typer.Option(help="Times real time, 0 for as fast as possible.")] = None,
    approve: Annotated[str, typer.Option(help="ask: terminal and Prefect page; auto: rehearsals only.")] = "ask",
    language: Annotated[str, typer.Option(help="Language of the reports: en or zh.")] = "en",
    home: Home = HOME,
    as_json: Json = False,
) -> None:
    """Run a whole rollout on a recorded or simulated market.

    Example: graygate rehearse --feed FOLDER --approve auto
    """
    from engine.adapters.session import Session
    from tasks.planning import default_plan, plan_rollout

    folder = plan_rollout(
        home=home, plan_path=plan or default_plan(), candidate=candidate, feed=feed, seed=seed, speed=speed,
        approve=approve, language=language, environment=dict(os.environ), requester=os.environ.get("USER", "unknown"),
    )  # fmt: skip
    _run(Session(home, folder), as_json)


@app.command()
def resume(rollout: Rollout = None, home: Home = HOME, as_json: Json = False) -> None:
    """Go on with a rollout whose process died: same stage, nothing done twice.

    Example: graygate resume
    """
    from engine.adapters.session import Session

    folder = _folder(home, rollout)
    outcome = _state(folder).outcome
    if outcome is not None:
        raise RefusedError(f"rollout {folder.name} is over ({outcome}); start another with graygate rehearse")
    _run(Session(home, folder), as_json)


@app.command()
def approve(
    decision: Annotated[str, typer.Argument(help="advance, hold or roll_back")],
    name: Annotated[str, typer.Option(help="Your name, as it shall stand in the journal.")],
    comment: Annotated[str, typer.Option(help="Why.")] = "",
    digest: Annotated[
        str | None, typer.Option(help="Evidence digest you decided on; the one asked about if not given.")
    ] = None,
    rollout: Rollout = None,
    home: Home = HOME,
) -> None:
    """Answer a stage that asks. Example: graygate approve advance --name Ada --comment "looks right"."""
    folder = _folder(home, rollout)
    state = _state(folder)
    stage = state.current
    if stage is None or stage.requested_digest is None:
        raise RefusedError(f"rollout {folder.name} asks for nothing at the moment")
    if decision not in ("advance", "hold", "roll_back"):
        raise RefusedError(f"decision must be advance, hold or roll_back, was {decision!r}")
    request = ApprovalRequest(stage.name, digest or stage.requested_digest, Answer(decision), name, comment, "cli")
    submit(_journal(folder, state), request)
    console.print(f"{decision} by {name} on stage {stage.name} is in the journal.")


@app.command()
def rollback(
    reason: Annotated[str, typer.Option(help="Why; it goes into the journal.")] = "ordered on the command line",
    name: Annotated[str, typer.Option(help="Who orders it.")] = "",
    rollout: Rollout = None,
    home: Home = HOME,
    as_json: Json = False,
) -> None:
    """Put the baseline back on every symbol now. Needs neither Prefect nor a network.

    Example: graygate rollback --name Ada --reason "spread looks wrong"
    """
    from tasks.act import roll_back
    from tasks.wiring import open_rollout

    wiring = open_rollout(_folder(home, rollout))
    wiring.journal.epoch += 1  # whatever an older process still wants, the service refuses from here on
    if wiring.state().outcome == "promoted":
        raise RefusedError("the rollout is promoted; a return to the previous stable is a rollout of its own")
    who = name or os.environ.get("USER", "unknown")
    seconds = roll_back(wiring, None, f"{reason} ({who})", actor=who)
    console.print(f"The baseline is live on every symbol; it took {seconds:.3f} s.")
    if as_json:
        typer.echo(json.dumps({"rolled_back": True, "seconds": seconds}))


@app.command("stop")
def stop_processes(rollout: Rollout = None, home: Home = HOME) -> None:
    """Stop the processes of a rollout, its service included. Example: graygate stop"""
    from engine.adapters.session import Session

    folder = _folder(home, rollout)
    Session(home, folder).stop(keep_service=False)
    console.print(f"The processes of {folder.name} are stopped; its journal and evidence stay in {folder}.")


@app.command()
def status(rollout: Rollout = None, home: Home = HOME, as_json: Json = False) -> None:
    """Where a rollout stands. Example: graygate status --json"""
    folder = _folder(home, rollout)
    state = _state(folder)
    try:
        service: dict[str, Any] = ControlClient(folder / "service" / "control.sock").call("status")
    except GraygateError as error:
        service = {"error": str(error)}
    if as_json:
        typer.echo(json.dumps({**summary(folder, state), "service": service}, default=str))
        return
    console.print(f"Rollout {state.rollout}: {state.outcome or 'running'} {state.reason}")
    from reports.terminal import stage_table

    console.print(stage_table(state))
    console.print(f"Service: {service.get('error') or 'answers, live ' + str(service['live'])}")


@app.command()
def verify(folder: Annotated[Path, typer.Argument(help="Folder of a rollout.")], as_json: Json = False) -> None:
    """Recompute every verdict from the stored evidence and compare digests.

    Example: graygate verify var/rollouts/NAME
    """
    from tasks.recompute import recompute
    from tasks.wiring import open_rollout

    checked = recompute(open_rollout(folder))
    for item in checked:
        console.print(
            f"{item['stage']} slot {item['slot']}: {'same' if item['same'] else 'DIFFERENT'} {item['digest'][:12]}"
        )
    if as_json:
        typer.echo(json.dumps({"verdicts": checked}))
    if not all(item["same"] for item in checked):
        raise GraygateError("a recomputed verdict differs from the journal")


@journal_app.command("show")
def journal_show(rollout: Rollout = None, home: Home = HOME) -> None:
    """Print the journal, a line per record. Example: graygate journal show"""
    folder = _folder(home, rollout)
    for record in FileJournal(folder / "journal.jsonl", "", SystemClock()).records():
        typer.echo(f"{record.seq:>4} {record.ts} {record.stage or '-':<8} {record.type.value:<18} {record.actor}")


@journal_app.command("verify")
def journal_verify(rollout: Rollout = None, home: Home = HOME) -> None:
    """Check the chain of a rollout's journal. Example: graygate journal verify"""
    folder = _folder(home, rollout)
    seq, head = FileJournal(folder / "journal.jsonl", "", SystemClock()).head()
    console.print(f"{seq} records, each follows from the one before; head {head}")


def _run(session: Any, as_json: bool) -> None:
    """Run a session to its end, show it, and say how it ended; the exit code is 0 for any decided outcome."""
    from reports.terminal import follow, stage_table

    state = follow(session, console)
    result = summary(session.folder, state)
    console.print(stage_table(state))
    console.print(
        f"[bold]{(state.outcome or 'not finished').replace('_', ' ')}[/bold]: {state.reason}", highlight=False
    )
    console.print(f"Report: {result['report_html']}", soft_wrap=True, highlight=False)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        typer.echo(result["report_html"])
    if state.outcome is None:
        raise GraygateError(f"the flow process ended before the rollout was over; see {session.folder / 'flow.log'}, "
                            "then graygate resume")  # fmt: skip


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


def _folder(home: Path, rollout: str | None) -> Path:
    rollouts = home / "rollouts"
    if rollout is not None:
        if not (rollouts / rollout / "journal.jsonl").exists():
            raise RefusedError(f"there is no rollout {rollout!r} in {rollouts}")
        return rollouts / rollout
    found = sorted(rollouts.glob("*/journal.jsonl"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise RefusedError(f"there is no rollout in {rollouts}; start one with graygate rehearse")
    return found[-1].parent


def _journal(folder: Path, state: RolloutState) -> FileJournal:
    return FileJournal(folder / "journal.jsonl", state.rollout, SystemClock(), state.epoch)


def _state(folder: Path) -> RolloutState:
    return fold(FileJournal(folder / "journal.jsonl", "", SystemClock()).records())


def main() -> None:
    """Entry point: a person's mistake ends in one sentence and its exit code."""
    try:
        app()
    except GraygateError as error:
        console.print(f"graygate: {error}", soft_wrap=True, highlight=False, markup=False)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        console.print("graygate: interrupted; the rollout can go on with graygate resume")
        sys.exit(130)


if __name__ == "__main__":
    main()
