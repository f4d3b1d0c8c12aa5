"""A rollout on the terminal: progress while it runs, and the question when a stage asks."""

import sys
import time
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.prompt import Prompt
from rich.table import Table

from engine.adapters.journal_file import FileJournal
from engine.errors import RefusedError
from engine.rollout.approvals import ApprovalRequest, submit
from engine.rollout.decision import Answer
from engine.rollout.journal import Record, RecordType
from engine.rollout.state import RolloutState, StageState, fold

POLL_S = 0.3
STAND_IN_POLLS = 70
"""How long a flow may be gone before nobody is expected to take its place."""


class Running(Protocol):
    """What following needs of a session."""

    prefect_ui: str

    def start(self) -> None: ...
    def stop(self, *, keep_service: bool) -> None: ...
    def flow_is_alive(self) -> bool: ...
    def journal(self) -> FileJournal: ...
    def clock_ns(self) -> int | None: ...


def follow(session: Running, console: Console) -> RolloutState:
    """Start the session, show it until its flow ends, stop it, and return the last state.

    An unfinished rollout keeps its service: a service that stops in the middle of a stage has crashed.
    """
    try:
        with console.status("Starting the service and the Prefect server (the first start takes up to half a minute)"):
            session.start()
        console.print(f"Prefect page: {session.prefect_ui}/runs", highlight=False, soft_wrap=True)
        with Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(), console=console,
        ) as progress:  # fmt: skip
            _Follower(session, console, progress).run()
        return fold(session.journal().records())
    finally:
        is_over = fold(session.journal().records()).outcome is not None
        with console.status("Stopping the processes"):
            session.stop(keep_service=not is_over)


class _Follower:
    """Reads the journal again and again and shows what is new."""

    def __init__(self, session: Running, console: Console, progress: Progress) -> None:
        self._session = session
        self._console = console
        self._progress = progress
        self._bars: dict[str, TaskID] = {}
        self._shown = 0

    def run(self) -> None:
        gone_polls = 0
        while True:
            alive = self._session.flow_is_alive()
            records = self._session.journal().records()
            for record in records[self._shown :]:
                self._show(record)
            self._shown = len(records)
            state = fold(records)
            self._draw(state)
            self._maybe_ask(state)
            gone_polls = 0 if alive or self._waits(state) else gone_polls + 1
            if (state.outcome is not None and not alive) or gone_polls > STAND_IN_POLLS:
                return
            time.sleep(POLL_S)

    def _show(self, record: Record) -> None:
        sentence = sentence_of(record)
        if sentence:
            self._console.print(sentence, highlight=False, markup=False, soft_wrap=True)

    def _draw(self, state: RolloutState) -> None:
        clock_ns = self._session.clock_ns()
        for stage in state.stages:
            if stage.start_ns is None or stage.end_ns is None:
                continue
            bar = self._bar(stage.name)
            if stage.is_over:
                self._progress.update(bar, completed=1.0)
            elif clock_ns is not None:
                share = (clock_ns - stage.start_ns) / (stage.end_ns - stage.start_ns)
                self._progress.update(bar, completed=min(1.0, max(0.0, share)))

    def _bar(self, stage_name: str) -> TaskID:
        if stage_name not in self._bars:
            self._bars[stage_name] = self._progress.add_task(f"observing {stage_name}", total=1.0)
        return self._bars[stage_name]

    def _waits(self, state: RolloutState) -> bool:
        return state.outcome is None and state.current is not None and state.current.waits_for_a_person

    def _maybe_ask(self, state: RolloutState) -> None:
        stage = state.current
        if not self._waits(state) or stage is None or state.planned.get("approve") != "ask" or not sys.stdin.isatty():
            return
        self._progress.stop()
        self._ask(stage)
        self._progress.start()

    def _ask(self, stage: StageState) -> None:
        self._console.print(f"\nStage {stage.name} asks for a decision. Report: {stage.report_html}", soft_wrap=True)
        self._console.print("Answer here or in the Prefect page (the paused run `approval`).")
        answer = Prompt.ask("Decision", choices=["advance", "hold", "roll_back"], default="hold", console=self._console)
        name = Prompt.ask("Your name", console=self._console)
        comment = Prompt.ask("Comment", default="", console=self._console)
        request = ApprovalRequest(stage.name, stage.requested_digest or "", Answer(answer), name, comment, "terminal")
        try:
            submit(self._session.journal(), request)
        except RefusedError as refusal:
            self._console.print(f"Refused: {refusal}")


def sentence_of(record: Record) -> str | None:
    """One line for what a person should see; None for the rest."""
    body, stage = record.body, record.stage
    match record.type:
        case RecordType.DRILLED:
            return f"{stage}: rollback drill done in {body['seconds']:.3f} s"
        case RecordType.DEPLOYED:
            return f"{stage}: candidate {body['fingerprint']} live on {', '.join(body['symbols'])}"
        case RecordType.VERDICT_REACHED:
            return f"{stage}: look {body['slot']}: {body['verdict']}"
        case RecordType.APPROVAL_GIVEN:
            return f"{stage}: {body['decision']} by {body['name']} ({body['door']})"
        case RecordType.APPROVAL_REFUSED:
            return f"{stage}: answer refused: {body['refusal']}"
        case RecordType.ADVANCED:
            return f"{stage}: advanced"
        case RecordType.ROLLED_BACK:
            return f"rolled back in {body['seconds']:.3f} s ({body['tier']})"
        case _:
            return None


def stage_table(state: RolloutState) -> Table:
    """The stages as a table."""
    table = Table("stage", "symbols", "verdict", "windows", "drill", "decided by")
    for stage in state.stages:
        drill = f"{stage.drill_seconds:.3f} s" if stage.drill_seconds is not None else "-"
        verdict = stage.verdict.name if stage.verdict is not None else "-"
        table.add_row(stage.name, str(len(stage.symbols)), verdict, str(stage.windows), drill, stage.decided_by or "-")
    return table
