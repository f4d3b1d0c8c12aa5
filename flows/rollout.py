"""The whole rollout: stage after stage, slot after slot, until it is promoted, held or rolled back."""

import sys
from pathlib import Path

from prefect import flow

from engine.errors import GraygateError
from engine.rollout.decision import Action
from engine.rollout.due import next_due
from flows.stage import stage
from tasks.report import final_report, reports_beside
from tasks.walk import at_work
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


def main() -> int:
    """Run one rollout in this process; a second one for the same folder is refused."""
    folder = Path(sys.argv[1])
    try:
        with at_work(folder, "flow") as wiring:
            rollout(str(folder), wiring.spec.rollout)
    except GraygateError as error:
        print(f"flow: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
