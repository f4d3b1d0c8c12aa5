"""Everything that may change a rollout, as orders: checked against the journal and written to it under one lock.

An order is the intent; whoever carries it out writes the outcome. The journal decides every race:
what comes second sees what came first.
"""

from collections.abc import Callable, Sequence
from typing import Any

from engine.errors import RefusedError
from engine.rollout.decision import Answer
from engine.rollout.due import next_due
from engine.rollout.journal import Journal, Record, RecordType
from engine.rollout.plan import Plan
from engine.rollout.state import HELD, PROMOTED, ROLLED_BACK, Folding, RolloutState, step_of
from engine.rollout.verdict import Verdict

Check = Callable[[RolloutState], None]


class _Found(Exception):
    """The record that a step left before."""

    def __init__(self, record: Record) -> None:
        super().__init__(record.step)
        self.record = record


class Orders:
    """The orders of one rollout."""

    def __init__(self, journal: Journal, plan: Plan) -> None:
        self.journal = journal
        self._plan = plan
        self._folding = Folding()

    def state(self) -> RolloutState:
        """The present. Raises JournalError."""
        return self._folding.state(self.journal.records())

    def order_deploy(self, stage: str, symbols: Sequence[str]) -> Record:
        """Order the candidate onto a stage's symbols, once per attempt. Raises RefusedError.

        The guardian carries it out: drill, deploy, read back.
        """

        def check(state: RolloutState) -> None:
            self._require_running(state)
            due = next_due(self._plan, state)
            if due is None or due[0] != stage:
                raise RefusedError(f"stage {stage} is not due; {due[0] if due else 'nothing'} is")
            off = sorted((state.set_back | state.killed) & set(symbols))
            if off:
                raise RefusedError(f"{off[0]} was taken off the candidate by a person; graygate rearm allows it again")

        body = {"symbols": list(symbols)}
        return self._step(stage, "order", RecordType.DEPLOY_ORDERED, body, check)

    def start_clock(self, stage: str, body: dict[str, Any]) -> Record:
        """Start a stage's clock, once, after its deploy was read back on every symbol. Raises RefusedError.

        `body` has `start_ns` and `end_ns`, market time.
        """

        def check(state: RolloutState) -> None:
            self._require_running(state)
            if not state.stage(stage).is_deployed:
                raise RefusedError(f"stage {stage} is not deployed, so its clock does not start")

        return self._step(stage, "start", RecordType.STAGE_STARTED, body, check)

    def order_drill(self, actor: str) -> Record:
        """Order a drill of what is deployed. Raises RefusedError if nothing is, or one is under way."""

        def check(state: RolloutState) -> None:
            if not state.desired():
                raise RefusedError("nothing is live on the candidate, so there is nothing to practise on")
            if state.drilling is not None or state.deploying is not None or state.rolling_back is not None:
                raise RefusedError("another order is being carried out; try again in a second")

        stage = self.state().current
        name = stage.name if stage is not None else None
        return self._append(check, RecordType.DRILL_ORDERED, {}, stage=name, actor=actor)

    def order_rollback(
        self, reason: str, actor: str, *, symbols: Sequence[str] | None = None, stage: str | None = None
    ) -> Record:
        """Order the baseline back on all symbols, or on some of a stage that goes on. Nothing stands in its way.

        Once for all symbols in an attempt: whoever asks again gets the first order. Raises RefusedError
        after a promotion, and for symbols that nothing is live on.
        """
        current = self.state().current
        stage = stage or (current.name if current is not None else None)
        names = None if symbols is None else sorted(symbols)

        def allowed(records: Sequence[Record]) -> None:
            state = self._folding.state(records)
            if names is None and state.is_aborted:
                raise _Found(next(record for record in reversed(records) if record.type in _ABORTS))
            _may_roll_back(state, names)

        try:
            return self.journal.append_if(
                allowed, RecordType.ROLLBACK_ORDERED, {"reason": reason, "symbols": names}, stage=stage, actor=actor,
                epoch_up=True,
            )  # fmt: skip
        except _Found as found:
            return found.record

    def order_kill(self, reason: str, actor: str, symbols: Sequence[str] | None = None) -> Record:
        """Order all trading to stop, on all symbols or some. Never refused while the journal can be written."""
        state = self.state()
        stage = state.current.name if state.current is not None else None
        body = {"reason": reason, "symbols": None if symbols is None else sorted(symbols)}
        return self._append(lambda state: None, RecordType.KILL_ORDERED, body, stage=stage, actor=actor, epoch_up=True)

    def hold(self, reason: str, actor: str) -> Record:
        """End the rollout where it stands: what is live stays, nothing advances. Raises RefusedError."""
        state = self.state()
        stage = state.current.name if state.current is not None else None
        return self._append(self._require_running, RecordType.HELD, {"reason": reason}, stage=stage, actor=actor)

    def rearm(self, reason: str, actor: str) -> Record:
        """Allow another attempt after a rollback, a kill or a hold: a person's decision. Raises RefusedError."""

        def check(state: RolloutState) -> None:
            if not actor.strip() or actor.startswith("auto:"):
                raise RefusedError("only a named person may re-arm a rollout")
            if state.rolling_back is not None or state.kills:
                raise RefusedError("a rollback is being carried out; wait until it is done")
            if state.outcome not in (ROLLED_BACK, HELD) and not state.killed | state.set_back:
                raise RefusedError(f"the rollout is {state.outcome or 'running'}; there is nothing to re-arm")
            if state.outcome == PROMOTED:
                raise RefusedError("the rollout is promoted; a new candidate is a new rollout")

        return self._append(check, RecordType.REARMED, {"reason": reason}, actor=actor, epoch_up=True)

    def advance(self, stage: str, actor: str) -> Record:
        """Let a stage pass, once: judged PASS at its end, with a person's yes to that evidence. Raises RefusedError."""

        def check(state: RolloutState) -> None:
            self._require_running(state)
            found = state.stage(stage)
            if found.advanced:
                raise RefusedError(f"stage {stage} has advanced already")
            if found.verdict is not Verdict.PASS or not found.is_over or found.answer is not Answer.ADVANCE:
                raise RefusedError(f"stage {stage} has no verdict PASS at its end with a person's yes")
            if found.requested_digest != found.evidence_digest:
                raise RefusedError(f"stage {stage} was judged again since it was approved")
            if state.set_back | state.killed:
                raise RefusedError(
                    f"stage {stage} is not whole: {sorted(state.set_back | state.killed)} were taken off"
                )

        return self._step(stage, "advance", RecordType.ADVANCED, {"by": actor}, check, actor=actor)

    def promote(self, stage: str, reason: str, actor: str) -> Record:
        """End a rollout whose last stage advanced. Raises RefusedError."""

        def check(state: RolloutState) -> None:
            self._require_running(state)
            if not all(state.stage(planned.name).advanced for planned in self._plan.stages):
                raise RefusedError("not every stage has advanced")

        return self._step(stage, "promote", RecordType.PROMOTED, {"reason": reason}, check, actor=actor)

    def once(
        self, step: str, type_: RecordType, body: dict[str, Any], check: Check, attempt: int, **labels: Any
    ) -> Record:  # fmt: skip
        """Write the record of a step if `check` does not raise, or return the one that exists.

        Raises RefusedError if the attempt it belongs to is over: what was worked out for it counts no more.
        """

        def allowed(records: Sequence[Record]) -> None:
            done = next((record for record in reversed(records) if record.step == step), None)
            if done is not None:
                raise _Found(done)
            state = self._folding.state(records)
            if state.attempt != attempt:
                raise RefusedError("the rollout was re-armed meanwhile: this belongs to an attempt that is over")
            check(state)

        try:
            return self.journal.append_if(allowed, type_, body, step=step, **labels)
        except _Found as found:
            return found.record

    def note(
        self, attempt: int, stage: str, parts: Sequence[object], type_: RecordType, body: dict[str, Any]
    ) -> Record:  # fmt: skip
        """Write down, once, what a step of a stage found or did; also while the rollout is going back."""
        step = step_of(attempt, stage, *parts)
        return self.once(step, type_, body, lambda state: None, attempt, stage=stage)

    def _step(
        self, stage: str, part: str, type_: RecordType, body: dict[str, Any], check: Check, **labels: Any
    ) -> Record:  # fmt: skip
        attempt = self.state().attempt
        return self.once(step_of(attempt, stage, part), type_, body, check, attempt, stage=stage, **labels)

    def _append(self, check: Check, type_: RecordType, body: dict[str, Any], **labels: Any) -> Record:
        return self.journal.append_if(lambda records: check(self._folding.state(records)), type_, body, **labels)

    def _require_running(self, state: RolloutState) -> None:
        if state.outcome is not None:
            raise RefusedError(f"the rollout is over ({state.outcome}); a new candidate is a new rollout")
        if state.is_aborted:
            raise RefusedError("the rollout is being rolled back")


_ABORTS = (RecordType.ROLLBACK_ORDERED, RecordType.KILL_ORDERED)


def _may_roll_back(state: RolloutState, symbols: Sequence[str] | None) -> None:
    if state.outcome == PROMOTED:
        raise RefusedError("the rollout is promoted; a return to the previous stable is a rollout of its own")
    if symbols is None:
        return
    strange = sorted(set(symbols) - set(state.desired()))
    if strange:
        raise RefusedError(f"{strange[0]} does not run the candidate; these do: {list(state.desired())}")
    if state.rolling_back is not None:
        raise RefusedError("another rollback is being carried out; try again in a second")
