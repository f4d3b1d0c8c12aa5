"""What goes wrong, drawn from the seed: at random times, or some operations after a certain record was written.

Each fault is a method that begins it, and plans its end. While one lasts nothing is asked of the world but what
must hold always; see `World.begin_fault`.
"""

from collections.abc import Callable

from benchmarks.simulation.crew import Parts
from benchmarks.simulation.people import Desk
from benchmarks.simulation.troubles import TroubledWorld
from engine.clock import NS_PER_S
from engine.rollout.journal import Record, RecordType

NOISE = ("kill_flow", "prefect_gone", "freeze_flow", "second_flow", "slot_again", "wall_jump", "summer_time")
"""Trouble of the control plane, which alone never rolls back."""

CRASHES = ("kill_guardian", "kill_service", "kill_all", "power_loss", "crash_loop", "guardian_away")
SERVICE = ("hang", "refuse_apply", "lose_apply", "ignore_rollback", "die_in_command", "restart_fails", "guardrail",
           "alert", "market_stands")  # fmt: skip
NETWORK = ("drop", "lost_answer", "late_command", "partition_guardian", "partition_flow")
DISK = ("disk_full", "sync_error", "short_write")
TIME = ("suspend", "freeze_guardian", "second_guardian")
PEOPLE = ("roll_back", "roll_back_some", "kill", "kill_some", "hold", "drill", "rearm", "rearm_as_machine")
ALL = NOISE + CRASHES + SERVICE + NETWORK + DISK + TIME + PEOPLE

MOMENTS = (RecordType.PREFLIGHT_PASSED, RecordType.DEPLOY_ORDERED, RecordType.DRILLED, RecordType.DEPLOYED,
           RecordType.STAGE_STARTED, RecordType.SLOT_OBSERVED, RecordType.EVIDENCE_COLLECTED,
           RecordType.VERDICT_REACHED, RecordType.REPORT_RENDERED, RecordType.APPROVAL_REQUESTED,
           RecordType.APPROVAL_GIVEN, RecordType.ADVANCED, RecordType.ROLLBACK_ORDERED, RecordType.ROLLED_BACK,
           RecordType.KILL_ORDERED, RecordType.KILLED, RecordType.REARMED, RecordType.GUARDIAN_STARTED,
           RecordType.FLOW_STARTED, RecordType.SERVICE_DIED)  # fmt: skip

MAX_REARMS = 6


class FaultyWorld(TroubledWorld):
    """A world with faults of some kinds; people answer, and re-arm after a while."""

    def __init__(
        self, seed: int, days: float = 24.0, parts: Parts | None = None, kinds: tuple[str, ...] = ALL,
        most: int = 8, answer: Callable[[Desk], None] = Desk.answer,
    ) -> None:  # fmt: skip
        super().__init__(seed, days, parts)
        self.answer = answer
        self.rearms = 0
        self.listeners.append(self._visit)
        for _ in range(self.chance.randint(0, most)):
            self._draw(self.chance.choice(kinds))

    # When

    def _draw(self, kind: str) -> None:
        begin = getattr(self, f"_{kind}")
        if self.chance.random() < 0.4:
            self.hub.plan(self.chance.uniform(0, self.days * 86_400), lambda: self._begin_one(kind, begin))
            return
        wanted, nth = self.chance.choice(MOMENTS), self.chance.choice((1, 1, 1, 2, 2, 3, 5, 9))
        after_s = self.chance.choice((0.0, 0.0, 0.001, 0.01, 0.3, 1.5))
        seen = 0

        def hear(record: Record) -> None:
            nonlocal seen
            seen += record.type is wanted
            if seen == nth and record.type is wanted:
                self.hub.plan(after_s * self.chance.random(), lambda: self._begin_one(kind, begin))

        self.listeners.append(hear)

    def _begin_one(self, kind: str, begin: Callable[[], float]) -> None:
        if not self.is_ending:
            self.begin_fault(kind, 0.0)
            self.begin_fault("", begin())

    def _visit(self, record: Record) -> None:
        """People: asked something, they answer within hours; after an end, some re-arm."""
        if record.type is RecordType.APPROVAL_REQUESTED:
            self._answer_in(self.chance.expovariate(1 / 7200))
        ended = record.type in (RecordType.ROLLED_BACK, RecordType.KILLED, RecordType.HELD)
        if ended and self.rearms < MAX_REARMS and self.chance.random() < 0.8:
            self.rearms += 1
            self.hub.plan(self.chance.expovariate(1 / 10_000), lambda: self._act(Desk.rearm))

    def _answer_in(self, seconds: float) -> None:
        def visit() -> None:
            stage = self.state().current
            if stage is not None and stage.waits_for_a_person and self.state().outcome is None:
                self._act(self.answer)
                self._answer_in(self.chance.uniform(60, 20_000))

        self.hub.plan(seconds, visit)

    def _act(self, act: Callable[[Desk], None]) -> None:
        if not self.is_ending:
            self.person(act)

    # Crashes. Each returns for how long it lasts, in seconds.

    def _kill_soon(self, *kinds: str) -> float:
        """Kill within the next operations: between a record and what it orders, or what was done and its record."""
        for process in self._victims(*kinds):
            process.kill_in = self.chance.randint(0, 25)
        return 1.0

    def _kill_guardian(self) -> float:
        return self._kill_soon("guardian")

    def _kill_flow(self) -> float:
        return self._kill_soon("flow", "person")

    def _prefect_gone(self) -> float:
        for process in self._victims("flow"):
            self.hub.kill(process)
        return 0.0

    def _kill_all(self) -> float:
        for process in self._victims("guardian", "flow", "person"):
            self.hub.kill(process)
        self.supervisor.kill()
        return 0.0

    def _power_loss(self) -> float:
        self.power_loss(self.chance.uniform(5, 3600))
        self.service.horizon_ns = None
        self._make_room()
        self.hub.plan(self.chance.uniform(1, 20), self.supervisor.boot)
        self.hub.plan(self.chance.uniform(1, 20), self.restart_guardian)
        return 20.0

    def _crash_loop(self) -> float:
        self.supervisor.deaths = self.chance.randint(2, 5)
        self.supervisor.kill()
        return 30.0

    def _guardian_away(self) -> float:
        """Nobody starts the guardian for minutes: the dead-man switch has to do."""
        self.keeps_away_until_ns = self.hub.now_ns() + round(self.chance.uniform(30, 600) * NS_PER_S)
        for process in self._victims("guardian"):
            self.hub.kill(process)
        return 0.0

    # Flows and people

    def _second_flow(self) -> float:
        self.start_flow("second flow", waits=self.chance.random() < 0.5)
        return 0.0

    def _slot_again(self) -> float:
        stage = self.state().current
        if stage is not None and stage.slots_judged:
            slot = self.chance.randint(1, stage.slots_judged)
            self.start_flow("slot again", waits=False, work=lambda flow: flow.work_on(stage.name, slot))
        return 0.0

    def _by_person(self, act: Callable[[Desk], None]) -> float:
        self.person(act)
        return 0.0

    def _roll_back(self) -> float:
        return self._by_person(Desk.roll_back)

    def _roll_back_some(self) -> float:
        return self._by_person(lambda desk: desk.roll_back(some=True))

    def _kill(self) -> float:
        return self._by_person(Desk.kill)

    def _kill_some(self) -> float:
        return self._by_person(lambda desk: desk.kill(some=True))

    def _hold(self) -> float:
        return self._by_person(Desk.hold)

    def _drill(self) -> float:
        return self._by_person(Desk.drill)

    def _rearm(self) -> float:
        return self._by_person(Desk.rearm)

    def _rearm_as_machine(self) -> float:
        return self._by_person(Desk.rearm_as_machine)
