"""Orders: what is allowed when, and that an abort wins whatever comes in which order."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.adapters.journal_file import FileJournal
from engine.clock import FakeClock
from engine.errors import RefusedError
from engine.rollout.approvals import ApprovalRequest, submit
from engine.rollout.decision import Answer
from engine.rollout.journal import RecordType
from engine.rollout.orders import Orders
from tests.making_rollout import SPEC, SYMBOLS

DIGEST = "d" * 64


@pytest.fixture
def orders(tmp_path: Path) -> Orders:
    journal = FileJournal(tmp_path / "journal.jsonl", SPEC.rollout, FakeClock())
    journal.append(RecordType.ROLLOUT_PLANNED, {"kind": "production"})
    return Orders(journal, SPEC.plan)


def deployed(orders: Orders, stage: str = "10pct") -> None:
    orders.order_deploy(stage, SPEC.symbols[stage])
    body = {"symbols": list(SPEC.symbols[stage]), "fingerprint": "f", "boot": "b", "alerts": 0}
    orders.journal.append(RecordType.DEPLOYED, body, stage=stage)


def judged(orders: Orders, verdict: str = "PASS", *, is_last: bool = True, digest: str = DIGEST) -> None:
    orders.start_clock("10pct", {"start_ns": 0, "end_ns": 1})
    orders.journal.append(RecordType.SLOT_OBSERVED, {"slot": 18, "is_last": is_last}, stage="10pct")
    body = {"slot": 18, "verdict": verdict, "evidence_digest": digest}
    orders.journal.append(RecordType.VERDICT_REACHED, body, stage="10pct")


def asked(orders: Orders, digest: str = DIGEST) -> None:
    orders.journal.append(RecordType.APPROVAL_REQUESTED, {"evidence_digest": digest}, stage="10pct")


def approved(orders: Orders) -> None:
    asked(orders)
    submit(orders.journal, ApprovalRequest("10pct", DIGEST, Answer.ADVANCE, "Ada", "", "cli"))


def rolled_back(orders: Orders, symbols: list[str] | None = None) -> None:
    order = orders.order_rollback("ordered", "Ada", symbols=symbols)
    body = {"reason": "ordered", "seconds": 0.1, "tier": "control socket", "symbols": symbols, "order": order.seq}
    orders.journal.append(RecordType.ROLLED_BACK, body)


Act = Callable[[Orders], Any]

REFUSED: dict[str, tuple[list[Act], Act, str]] = {
    "a stage before its turn": ([], lambda o: o.order_deploy("50pct", SYMBOLS), "50pct is not due; 10pct is"),
    "a deploy after a rollback": ([rolled_back], lambda o: o.order_deploy("10pct", SYMBOLS[:1]), "over"),
    "a deploy while it is rolled back": (
        [lambda o: o.order_rollback("x", "Ada")],
        lambda o: o.order_deploy("10pct", SYMBOLS[:1]),
        "being rolled back",
    ),
    "a clock without a deploy": ([], lambda o: o.start_clock("10pct", {}), "not deployed"),
    "an advance without a verdict": ([deployed], lambda o: o.advance("10pct", "Ada"), "no verdict PASS"),
    "an advance nobody approved": ([deployed, judged, asked], lambda o: o.advance("10pct", "Ada"), "no verdict PASS"),
    "an advance before the end": (
        [deployed, lambda o: judged(o, is_last=False), approved],
        lambda o: o.advance("10pct", "Ada"),
        "no verdict PASS",
    ),
    "an advance on an inconclusive verdict": (
        [deployed, lambda o: judged(o, "INCONCLUSIVE"), approved],
        lambda o: o.advance("10pct", "Ada"),
        "no verdict PASS",
    ),
    "an advance on other evidence than was approved": (
        [deployed, judged, approved, lambda o: judged(o, digest="e" * 64)],
        lambda o: o.advance("10pct", "Ada"),
        "judged again",
    ),
    "an advance after a rollback was ordered": (
        [deployed, judged, approved, lambda o: o.order_rollback("x", "Ada")],
        lambda o: o.advance("10pct", "Ada"),
        "being rolled back",
    ),
    "an advance of a stage that is not whole": (
        [deployed, judged, approved, lambda o: rolled_back(o, [SYMBOLS[0]])],
        lambda o: o.advance("10pct", "Ada"),
        "not whole",
    ),
    "an approval after a rollback was ordered": (
        [deployed, judged, asked, lambda o: o.order_rollback("x", "Ada")],
        lambda o: submit(o.journal, ApprovalRequest("10pct", DIGEST, Answer.ADVANCE, "Ada", "", "cli")),
        "being rolled back",
    ),
    "a promotion before the last stage": ([deployed], lambda o: o.promote("10pct", "x", "Ada"), "not every stage"),
    "a rollback of a symbol that runs the baseline": (
        [deployed],
        lambda o: o.order_rollback("x", "Ada", symbols=[SYMBOLS[1]]),
        "does not run the candidate",
    ),
    "a drill with nothing live": ([], lambda o: o.order_drill("Ada"), "nothing is live"),
    "a re-arming of what runs": ([deployed], lambda o: o.rearm("x", "Ada"), "nothing to re-arm"),
    "a re-arming by nobody": ([rolled_back], lambda o: o.rearm("x", " "), "named person"),
    "a re-arming by a rule": ([rolled_back], lambda o: o.rearm("x", "auto:guardian"), "named person"),
    "a re-arming in the middle of a rollback": (
        [deployed, lambda o: o.order_rollback("x", "Ada")],
        lambda o: o.rearm("x", "Ada"),
        "wait until it is done",
    ),
    "a hold of what is over": ([rolled_back], lambda o: o.hold("x", "Ada"), "over"),
}


@pytest.mark.parametrize(("before", "act", "said"), [pytest.param(*case, id=name) for name, case in REFUSED.items()])
def test_what_the_journal_does_not_allow_is_refused_and_leaves_no_record(
    orders: Orders, before: list[Act], act: Act, said: str
) -> None:
    for step in before:
        step(orders)
    count = sum(record.type is not RecordType.APPROVAL_REFUSED for record in orders.journal.records())

    with pytest.raises(RefusedError, match=said):
        act(orders)

    assert sum(record.type is not RecordType.APPROVAL_REFUSED for record in orders.journal.records()) == count


def test_the_ordinary_way_leads_through_a_stage(orders: Orders) -> None:
    deployed(orders)
    judged(orders)
    approved(orders)

    orders.advance("10pct", "Ada")

    assert orders.state().stage("10pct").advanced
    assert orders.state().desired() == SPEC.symbols["10pct"]


def test_whoever_orders_a_rollback_again_gets_the_first_order(orders: Orders) -> None:
    deployed(orders)

    first = orders.order_rollback("first", "Ada")
    again = orders.order_rollback("second", "auto:guardian")

    assert again.seq == first.seq
    assert orders.state().desired() == ()


def test_aborts_and_re_arming_raise_the_epoch(orders: Orders) -> None:
    deployed(orders)
    epochs = [orders.state().epoch]
    rolled_back(orders)
    epochs.append(orders.state().epoch)
    orders.rearm("found it", "Ada")
    epochs.append(orders.state().epoch)
    orders.order_kill("stop", "Ada")
    epochs.append(orders.state().epoch)

    assert epochs == [0, 1, 2, 3]


def test_a_new_attempt_begins_the_stage_again_with_steps_of_its_own(orders: Orders) -> None:
    deployed(orders)
    before = orders.state().step("10pct", 1, "collect")
    rolled_back(orders)

    orders.rearm("found it", "Ada")
    state = orders.state()

    assert (state.outcome, state.attempt, state.stage("10pct").is_deployed) == (None, 1, False)
    assert state.step("10pct", 1, "collect") != before
    orders.order_deploy("10pct", SYMBOLS[:1])
    assert orders.state().deploying is not None


def test_a_hold_keeps_what_is_live(orders: Orders) -> None:
    deployed(orders)
    orders.hold("wait for the release notes", "Ada")

    assert orders.state().outcome == "held"
    assert orders.state().desired() == SPEC.symbols["10pct"]


def test_the_outcome_of_a_rollback_of_some_does_not_answer_a_later_one_of_all(orders: Orders) -> None:
    deployed(orders)
    some = orders.order_rollback("looks odd", "Ada", symbols=[SYMBOLS[0]])
    orders.order_rollback("all of it", "Ada")

    body = {"reason": "looks odd", "seconds": 0.1, "tier": "control socket", "symbols": [SYMBOLS[0]], "order": some.seq}
    orders.journal.append(RecordType.ROLLED_BACK, body)

    assert orders.state().rolling_back is not None
    assert orders.state().is_aborted


def test_a_hold_stops_a_deploy_that_was_only_ordered(orders: Orders) -> None:
    orders.order_deploy("10pct", SYMBOLS[:1])
    orders.hold("not now", "Ada")

    assert orders.state().deploying is None
    assert orders.state().desired() == ()
