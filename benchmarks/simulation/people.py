"""People: they approve, hold, roll back, kill, re-arm and practise, and do the wrong thing now and then."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from engine.clock import Clock
from engine.errors import GraygateError, JournalError
from engine.rollout.approvals import ApprovalRequest, submit
from engine.rollout.decision import Answer
from engine.rollout.journal import Journal
from engine.rollout.orders import Orders
from engine.rollout.rollback import Rollback

NAMES = ("Ada", "Ben", "Chloe")


@dataclass
class Desk:
    """What a person's command has at hand: journal, orders, and the way to carry them out."""

    journal: Journal
    orders: Orders
    rollback: Rollback
    clock: Clock
    dice: Random
    restart_with_dynamic_mode: Callable[[], None]

    def answer(self) -> None:
        """Answer the question that stands; sometimes to the wrong evidence, another stage, or twice."""
        stage = self.orders.state().current
        if stage is None or stage.requested_digest is None:
            return
        roll = self.dice.random()
        if roll < 0.1:
            self._submit(stage.name, "0" * 64, Answer.ADVANCE)
        elif roll < 0.2:
            self._submit("100pct" if stage.name == "10pct" else "10pct", stage.requested_digest, Answer.ADVANCE)
        decision = self.dice.choices((Answer.ADVANCE, Answer.HOLD, Answer.ROLL_BACK), (90, 5, 5))[0]
        self._submit(stage.name, stage.requested_digest, decision)
        if roll > 0.9:
            self._submit(stage.name, stage.requested_digest, self.dice.choice((Answer.ADVANCE, Answer.HOLD)))

    def approve(self) -> None:
        """Say yes to whatever is asked."""
        stage = self.orders.state().current
        if stage is not None and stage.requested_digest is not None:
            self._submit(stage.name, stage.requested_digest, Answer.ADVANCE)

    def roll_back(self, *, some: bool = False) -> None:
        """`graygate rollback`: works without a journal as well."""
        try:
            symbols = self._some() if some else None
            self.orders.order_rollback("a person wants it", self._name(), symbols=symbols)
            self._carry_out()
        except JournalError:
            self.rollback.force_baseline()

    def kill(self, *, some: bool = False) -> None:
        """`graygate kill`."""
        try:
            self.orders.order_kill("a person wants it", self._name(), self._some() if some else None)
            self._carry_out()
        except JournalError:
            self.rollback.force_baseline()

    def hold(self) -> None:
        """`graygate hold`."""
        self.orders.hold("a person wants it", self._name())

    def drill(self) -> None:
        """`graygate drill`."""
        self.orders.order_drill(self._name())

    def rearm(self) -> None:
        """`graygate rearm`, once the service may be started without the rollback switches."""
        self.orders.rearm("looked into it", self._name())
        self.restart_with_dynamic_mode()

    def rearm_as_machine(self) -> None:
        """What must be refused: only a named person may re-arm."""
        self.orders.rearm("nobody looked", "auto:guardian")

    def _carry_out(self) -> None:
        while self.rollback.carry_out() is not None:
            continue

    def _submit(self, stage: str, digest: str, decision: Answer) -> None:
        try:
            submit(self.journal, ApprovalRequest(stage, digest, decision, self._name(), "", "command line"))
        except GraygateError:
            return  # told to the person

    def _some(self) -> list[str]:
        desired = self.orders.state().desired()
        return [self.dice.choice(desired)] if desired else ["BTCUSDT.simulated"]

    def _name(self) -> str:
        return self.dice.choice(NAMES)
