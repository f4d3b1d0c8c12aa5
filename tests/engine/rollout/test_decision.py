"""The policy, as a table and exhaustively."""

from itertools import product

import pytest

from engine.rollout.decision import Action, Answer, decide
from engine.rollout.verdict import Finding, Verdict, overall

PASS, INCONCLUSIVE, FAIL = Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL


@pytest.mark.parametrize(
    ("verdict", "answer", "is_over", "action"),
    [
        pytest.param(PASS, Answer.NOT_ASKED, False, Action.OBSERVE, id="good so far, go on watching"),
        pytest.param(PASS, Answer.NOT_ASKED, True, Action.ASK, id="good at the end, ask"),
        pytest.param(PASS, Answer.ADVANCE, False, Action.OBSERVE, id="a yes before the end waits"),
        pytest.param(PASS, Answer.ADVANCE, True, Action.ADVANCE, id="good at the end and a yes, advance"),
        pytest.param(PASS, Answer.HOLD, False, Action.HOLD, id="a person holds early"),
        pytest.param(PASS, Answer.HOLD, True, Action.HOLD, id="a person holds at the end"),
        pytest.param(PASS, Answer.ROLL_BACK, False, Action.ROLL_BACK, id="a person rolls back early"),
        pytest.param(PASS, Answer.ROLL_BACK, True, Action.ROLL_BACK, id="a person rolls back a pass"),
        pytest.param(INCONCLUSIVE, Answer.NOT_ASKED, False, Action.OBSERVE, id="unclear so far, go on watching"),
        pytest.param(INCONCLUSIVE, Answer.NOT_ASKED, True, Action.HOLD, id="unclear at the end, hold"),
        pytest.param(INCONCLUSIVE, Answer.ADVANCE, False, Action.OBSERVE, id="a yes does not end an unclear stage"),
        pytest.param(INCONCLUSIVE, Answer.ADVANCE, True, Action.HOLD, id="a yes cannot overrule unclear"),
        pytest.param(INCONCLUSIVE, Answer.HOLD, False, Action.HOLD, id="a person holds an unclear stage early"),
        pytest.param(INCONCLUSIVE, Answer.HOLD, True, Action.HOLD, id="a person holds an unclear stage"),
        pytest.param(INCONCLUSIVE, Answer.ROLL_BACK, False, Action.ROLL_BACK, id="a person rolls back unclear early"),
        pytest.param(INCONCLUSIVE, Answer.ROLL_BACK, True, Action.ROLL_BACK, id="a person rolls back unclear"),
        pytest.param(FAIL, Answer.NOT_ASKED, False, Action.ROLL_BACK, id="bad, roll back at once"),
        pytest.param(FAIL, Answer.NOT_ASKED, True, Action.ROLL_BACK, id="bad at the end, roll back"),
        pytest.param(FAIL, Answer.ADVANCE, False, Action.ROLL_BACK, id="a yes cannot overrule bad early"),
        pytest.param(FAIL, Answer.ADVANCE, True, Action.ROLL_BACK, id="a yes cannot overrule bad"),
        pytest.param(FAIL, Answer.HOLD, False, Action.ROLL_BACK, id="a hold cannot overrule bad early"),
        pytest.param(FAIL, Answer.HOLD, True, Action.ROLL_BACK, id="a hold cannot overrule bad"),
        pytest.param(FAIL, Answer.ROLL_BACK, False, Action.ROLL_BACK, id="bad early and a person agrees"),
        pytest.param(FAIL, Answer.ROLL_BACK, True, Action.ROLL_BACK, id="bad and a person agrees"),
    ],
)
def test_decide(verdict: Verdict, answer: Answer, is_over: bool, action: Action) -> None:
    assert decide(verdict, answer, stage_is_over=is_over) is action


def test_a_failure_always_rolls_back_and_only_a_pass_with_a_yes_at_the_end_advances() -> None:
    for verdict, answer, is_over in product(Verdict, Answer, (False, True)):
        action = decide(verdict, answer, stage_is_over=is_over)

        may_advance = verdict is PASS and answer is Answer.ADVANCE and is_over
        assert (action is Action.ADVANCE) == may_advance, (verdict, answer, is_over)
        if verdict is FAIL:
            assert action is Action.ROLL_BACK, (answer, is_over)


def finding(verdict: Verdict, role: str = "gate") -> Finding:
    return Finding("Condition", "metric", role, verdict, "A sentence")


@pytest.mark.parametrize(
    ("findings", "verdict"),
    [
        pytest.param([], INCONCLUSIVE, id="nothing measured"),
        pytest.param([finding(PASS)], PASS, id="one gate passes"),
        pytest.param([finding(PASS), finding(INCONCLUSIVE)], INCONCLUSIVE, id="one gate is unclear"),
        pytest.param([finding(PASS), finding(INCONCLUSIVE), finding(FAIL)], FAIL, id="one gate fails"),
        pytest.param([finding(PASS), finding(INCONCLUSIVE, "guard")], PASS, id="an unclear guard does not block"),
        pytest.param([finding(PASS), finding(FAIL, "guard")], FAIL, id="a failing guard fails"),
        pytest.param([finding(PASS, "guard")], INCONCLUSIVE, id="guards alone prove nothing"),
    ],
)
def test_the_overall_verdict(findings: list[Finding], verdict: Verdict) -> None:
    assert overall(findings) is verdict


@pytest.mark.parametrize(
    ("verdict", "role", "blocks"),
    [
        (PASS, "gate", False), (INCONCLUSIVE, "gate", True), (FAIL, "gate", True),
        (PASS, "guard", False), (INCONCLUSIVE, "guard", False), (FAIL, "guard", True),
    ],
)  # fmt: skip
def test_what_stands_in_the_way_of_advancing(verdict: Verdict, role: str, blocks: bool) -> None:
    assert finding(verdict, role).blocks_advance is blocks
