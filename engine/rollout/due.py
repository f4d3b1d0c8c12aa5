"""What the plan wants next."""

from engine.rollout.plan import Plan
from engine.rollout.state import RolloutState
from engine.rollout.verdict import Verdict


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
