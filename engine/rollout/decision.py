"""The policy: what happens next, as one function."""

from enum import StrEnum
from typing import assert_never

from engine.rollout.verdict import Verdict


class Answer(StrEnum):
    """What a person said."""

    NOT_ASKED = "not_asked"
    ADVANCE = "advance"
    HOLD = "hold"
    ROLL_BACK = "roll_back"


class Action(StrEnum):
    """What to do next."""

    OBSERVE = "observe"
    ASK = "ask"
    ADVANCE = "advance"
    HOLD = "hold"
    ROLL_BACK = "roll_back"


def decide(verdict: Verdict, answer: Answer, *, stage_is_over: bool, is_whole: bool = True) -> Action:
    """Return what to do next. A failure needs nobody's permission; silence never advances.

    - FAIL rolls back at once, whoever was asked and whatever was answered.
    - A person may roll back or hold at any time.
    - Only PASS at the end of the stage, with a person's yes, advances; and only a whole stage, none of
      whose symbols was taken off the candidate.
    """
    if verdict is Verdict.FAIL or answer is Answer.ROLL_BACK:
        return Action.ROLL_BACK
    if answer is Answer.HOLD:
        return Action.HOLD
    if not stage_is_over:
        return Action.OBSERVE
    match verdict:
        case Verdict.PASS if not is_whole:
            return Action.HOLD
        case Verdict.PASS:
            return Action.ADVANCE if answer is Answer.ADVANCE else Action.ASK
        case Verdict.INCONCLUSIVE:
            return Action.HOLD
        case _:
            assert_never(verdict)
