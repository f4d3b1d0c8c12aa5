"""`graygate start STAGE`: the door behind the start scripts. It starts what is missing and comes back."""

import os
from pathlib import Path
from typing import Annotated

import typer

from engine.errors import InputError, RefusedError
from engine.rollout.decision import Answer
from engine.rollout.state import RolloutState, StageState
from engine.rollout.verdict import Verdict
from tasks.command_line import HOME, Home, Json, Rollout, answer, console, folder_of, say, state_of, user

start_app = typer.Typer()

STAGES = ("10pct", "50pct", "100pct")

PlanFile = Annotated[Path | None, typer.Option(help="Rollout plan; config/rollout.yaml, production, if not given.")]
MarketFile = Annotated[Path | None, typer.Option(help="Live market of a production plan; config/market.yaml.")]
Candidate = Annotated[Path | None, typer.Option(help="Configuration to release at every stage.")]
Feed = Annotated[Path | None, typer.Option(help="Folder of a recorded market, for a rehearsal plan.")]
Speed = Annotated[float | None, typer.Option(help="Times real time, for a rehearsal plan.")]
Approve = Annotated[str, typer.Option(help="ask: a person decides; auto: rehearsal plans only.")]
Language = Annotated[str, typer.Option(help="Language of the reports: en or zh.")]
Requester = Annotated[str, typer.Option(help="Who asks for the rollout.")]


@start_app.command()
def start(
    stage: Annotated[str, typer.Argument(help="10pct, 50pct or 100pct")],
    plan: PlanFile = None,
    market: MarketFile = None,
    candidate: Candidate = None,
    feed: Feed = None,
    seed: Annotated[int, typer.Option(help="Seed of the simulated market, for a rehearsal plan.")] = 1,
    speed: Speed = None,
    approve: Approve = "ask",
    language: Language = "en",
    name: Requester = "",
    rollout: Rollout = None,
    home: Home = HOME,
    as_json: Json = False,
) -> None:
    """Start a stage in the background: 10pct plans a rollout; the others go on with it once the stage before advanced.

    Example: graygate start 10pct --plan config/rehearsal.yaml --seed 7

    Exit codes: 0 started, 2 wrong input, 3 refused, 4 the service does not answer.
    """
    if stage not in STAGES:
        raise InputError(f"STAGE must be one of {', '.join(STAGES)}, was {stage!r}")
    if stage == STAGES[0]:
        if rollout is not None:
            raise InputError("--rollout names a rollout to go on with; 10pct plans a new one")
        folder = _plan(home, plan, market, candidate, feed, seed, speed, approve, language, name or user())
    else:
        folder = folder_of(home, rollout)
        require_advanced(state_of(folder), STAGES[STAGES.index(stage) - 1], stage)
    page = _start(home, folder)
    say(f"Stage {stage} of rollout {folder.name} runs in the background; graygate status shows it. Prefect: {page}")
    answer({"started": stage, "rollout": folder.name, "folder": str(folder.resolve()), "prefect": page}, as_json)


def require_advanced(state: RolloutState, before: str, stage: str) -> None:
    """Raise RefusedError, saying what is missing, unless a person's yes let the stage before pass."""
    if state.outcome is not None:
        raise RefusedError(f"rollout {state.rollout} is over ({state.outcome}: {state.reason}); "
                           "graygate rearm allows another attempt, unless it is promoted")  # fmt: skip
    if state.is_aborted:
        raise RefusedError(f"rollout {state.rollout} is being rolled back; stage {stage} does not start")
    found = state.stage(before)
    if not found.advanced and found.answer is not Answer.ADVANCE:
        raise RefusedError(f"stage {stage} may start only after stage {before} has advanced: {_missing(found)}")


def _missing(stage: StageState) -> str:
    if not stage.is_deployed:
        return f"{stage.name} is not deployed yet"
    if not stage.is_over:
        return f"{stage.name} is still observed, {stage.slots_judged} looks so far"
    if stage.verdict is not Verdict.PASS:
        return f"its last verdict is {stage.verdict.name if stage.verdict is not None else 'not there yet'}"
    return "nobody has approved it yet; read the report, then graygate approve advance --name NAME"


def _plan(
    home: Path, plan: Path | None, market: Path | None, candidate: Path | None, feed: Path | None, seed: int,
    speed: float | None, approve: str, language: str, requester: str,
) -> Path:  # fmt: skip
    from config.loader import CONFIG_DIR
    from tasks.planning import plan_rollout

    return plan_rollout(
        home=home, plan_path=plan or CONFIG_DIR / "rollout.yaml", candidate=candidate, feed=feed, seed=seed,
        speed=speed, approve=approve, language=language, environment=dict(os.environ), requester=requester,
        market=market, may_be_live=True,
    )  # fmt: skip


def _start(home: Path, folder: Path) -> str:
    """Start the processes that do not run; return the address of the Prefect page."""
    from engine.adapters.session import Session

    session = Session(home, folder)
    with console.status("Starting service, guardian and Prefect server (the first start takes up to half a minute)"):
        session.start()
    return session.prefect_ui
