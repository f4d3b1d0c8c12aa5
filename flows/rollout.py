"""The whole rollout: stage after stage, slot after slot, until it is promoted, held or rolled back."""

import fcntl
import os
import sys
from pathlib import Path

from prefect import flow

from engine.errors import GraygateError
from engine.rollout.decision import Action
from engine.rollout.journal import RecordType
from engine.rollout.plan import Plan
from engine.rollout.state import RolloutState
from engine.rollout.verdict import Verdict
from flows.stage import stage
from tasks.report import final_report, reports_beside
from tasks.wiring import open_rollout


@flow(name="rollout", flow_run_name="{rollout_id}", retries=0)
def rollout(folder: str, rollout_id: str) -> str:
    """Walk the plan. Everything that is done stays done: the journal says what is due.

    Args:
        folder: Folder of the rollout.
        rollout_id: Its name, shown in the list of runs.
    """
    wiring = open_rollout(Path(folder))
    while (due := next_due(wiring.plan, wiring.state())) is not None:
        action = stage(folder, *due)
        if action == Action.ASK.value:
            break
    if wiring.state().outcome is not None:
        final_report(wiring, reports_beside(wiring.folder))
    return wiring.state().outcome or "waiting"


def next_due(plan: Plan, state: RolloutState) -> tuple[str, int] | None:
    """Return the stage and slot to work on next; None when the rollout is over.

    A slot that failed or ended the stage is worked on again until it was acted on: its steps find
    themselves done.
    """
    if state.outcome is not None:
        return None
    for planned in plan.stages:
        current = state.stage(planned.name)
        if current.advanced:
            continue
        if current.verdict is Verdict.FAIL or current.is_over:
            return planned.name, max(1, current.slots_observed)
        return planned.name, min(current.slots_judged + 1, planned.slot_count)
    return None


def main() -> int:
    """Run one rollout in this process; a second one for the same folder is refused."""
    folder = Path(sys.argv[1])
    with (folder / "flow.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("flow: another process is working on this rollout", file=sys.stderr)
            return 3
        try:
            wiring = open_rollout(folder)
            wiring.journal.epoch += 1
            wiring.journal.append(RecordType.FLOW_STARTED, {"pid": os.getpid()})
            rollout(str(folder), wiring.spec.rollout)
        except GraygateError as error:
            print(f"flow: {error}", file=sys.stderr)
            return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
