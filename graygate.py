"""The command line: rehearse, resume, approve, stop, verify; the rest is in `tasks/*_commands.py`. No Prefect here."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.errors import GraygateError, RefusedError
from engine.rollout.approvals import ApprovalRequest, submit
from engine.rollout.decision import Answer
from tasks.command_line import HOME, Home, Json, Rollout, console, folder_of, journal_of, say, state_of
from tasks.journal_commands import journal_app
from tasks.look_commands import look_app, summary
from tasks.market_commands import market_app
from tasks.safety_commands import safety_app
from tasks.start_commands import start_app

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
for part in (safety_app, look_app, start_app, market_app):
    app.add_typer(part)
app.add_typer(journal_app, name="journal")


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

    folder = folder_of(home, rollout)
    outcome = state_of(folder).outcome
    if outcome is not None:
        raise RefusedError(
            f"rollout {folder.name} is over ({outcome}); graygate rearm allows another attempt unless it is promoted"
        )
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
    folder = folder_of(home, rollout)
    state = state_of(folder)
    stage = state.current
    if stage is None or stage.requested_digest is None:
        raise RefusedError(f"rollout {folder.name} asks for nothing at the moment")
    if decision not in ("advance", "hold", "roll_back"):
        raise RefusedError(f"decision must be advance, hold or roll_back, was {decision!r}")
    request = ApprovalRequest(stage.name, digest or stage.requested_digest, Answer(decision), name, comment, "cli")
    submit(journal_of(folder), request)
    say(f"{decision} by {name} on stage {stage.name} is in the journal.")


@app.command("stop")
def stop_processes(rollout: Rollout = None, home: Home = HOME) -> None:
    """Stop the processes of a rollout, its service included. Example: graygate stop"""
    from engine.adapters.session import Session

    folder = folder_of(home, rollout)
    Session(home, folder).stop(keep_service=False)
    say(f"The processes of {folder.name} are stopped; its journal and evidence stay in {folder}.")


@app.command()
def verify(folder: Annotated[Path, typer.Argument(help="Folder of a rollout.")], as_json: Json = False) -> None:
    """Recompute every verdict from the stored evidence and compare digests.

    Example: graygate verify var/rollouts/NAME
    """
    from tasks.recompute import recompute
    from tasks.wiring import open_rollout

    checked = recompute(open_rollout(folder))
    for item in checked:
        say(f"{item['stage']} slot {item['slot']}: {'same' if item['same'] else 'DIFFERENT'} {item['digest'][:12]}")
    if as_json:
        typer.echo(json.dumps({"verdicts": checked}))
    if not all(item["same"] for item in checked):
        raise GraygateError("a recomputed verdict differs from the journal")


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


def main() -> None:
    """Entry point: a person's mistake ends in one sentence and its exit code."""
    try:
        app()
    except GraygateError as error:
        say(f"graygate: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        say("graygate: interrupted; the rollout can go on with graygate resume")
        sys.exit(130)


if __name__ == "__main__":
    main()
