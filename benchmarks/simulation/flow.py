"""The flow of a simulated rollout: the steps of `tasks/walk.py` with the real tasks, except that evidence is scripted.

`collect`, `compare` and `report` write the records that the real ones write; the verdicts are drawn from the seed.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from typing import Any

from engine.errors import EvidenceError, GraygateError, RefusedError, ServiceError
from engine.rollout.decision import Action
from engine.rollout.due import next_due
from engine.rollout.journal import RecordType
from engine.rollout.verdict import Finding, Verdict
from tasks.act import act, is_ended, next_action, roll_back_after_error
from tasks.approve import is_open, request_approval
from tasks.deploy import deploy
from tasks.observe import observe
from tasks.preflight import preflight
from tasks.wiring import Wiring

ANSWER_POLL_S = 0.3

Script = Callable[[str, int, int], Verdict]
"""Verdict of an attempt at a stage: (stage, attempt, slot)."""


class Nowhere:
    """Where scrapes go that nobody reads."""

    def open(self, mode: str) -> io.StringIO:
        return io.StringIO()


@dataclass(frozen=True)
class SimWiring(Wiring):
    """The wiring of a flow without files."""

    def ops_lines(self, stage: str, slot: int) -> Any:
        return Nowhere()


def script(seed: int, fail_share: float) -> Script:
    """Verdicts of a rollout: good but for a share that fails, and as large a share that is not conclusive."""

    def verdict(stage: str, attempt: int, slot: int) -> Verdict:
        roll = Random(f"{seed}/{stage}/{attempt}/{slot}").random()
        if roll < fail_share:
            return Verdict.FAIL
        return Verdict.INCONCLUSIVE if roll > 1 - fail_share else Verdict.PASS

    return verdict


class SimFlow:
    """Walks the slots that are due. `waits` says whether it stays while a person thinks, as the orchestrator's does."""

    def __init__(self, wiring: SimWiring, verdict_of: Script, *, waits: bool) -> None:
        self.wiring = wiring
        self._verdict_of = verdict_of
        self._waits = waits

    def run(self, who: str) -> None:
        """Work until the rollout is over or waits for a person."""
        wiring = self.wiring
        wiring.journal.append(RecordType.FLOW_STARTED, {"pid": 1, "who": who})
        try:
            while (due := next_due(wiring.plan, wiring.state())) is not None:
                if self.work_on(*due) is Action.ASK or wiring.state().attempt != wiring.attempt:
                    return
            wiring.journal.append(RecordType.REPORT_RENDERED, {"html": "final.html", "md": "final.md"})
        except GraygateError as error:
            raise FlowEnded(str(error)) from error

    def work_on(self, stage: str, slot: int) -> Action:
        """Take a stage to the end of one slot and act on what it shows."""
        wiring = self.wiring
        try:
            preflight(wiring, stage)
            deploy(wiring, stage)
            observe(wiring, stage, slot)
            self._collect(stage, slot)
            verdict, findings = self._compare(stage, slot)
            self._report(stage, slot)
            if next_action(wiring, stage, slot, verdict) is Action.ASK:
                self._ask(stage, request_approval(wiring, stage))
            return act(wiring, stage, slot, verdict, findings)
        except (ServiceError, EvidenceError) as error:
            roll_back_after_error(wiring, stage, error)
            return Action.ROLL_BACK
        except RefusedError:
            if not is_ended(wiring):
                raise
            return Action.ROLL_BACK

    def _collect(self, stage: str, slot: int) -> None:
        wiring = self.wiring
        step = wiring.step(stage, slot, "collect")
        if any(record.step == step for record in wiring.journal.records()):
            return
        wiring.service.windows(0)
        body = {"windows": 1, "windows_digest": _digest(step), "ops_digest": _digest(step)}
        wiring.note(stage, slot, "collect", type_=RecordType.EVIDENCE_COLLECTED, body=body)

    def _compare(self, stage: str, slot: int) -> tuple[Verdict, list[Finding]]:
        wiring = self.wiring
        if wiring.state().stage(stage).start_ns is None:
            raise RefusedError(f"stage {stage} has not started in this attempt")
        verdict = self._verdict_of(stage, wiring.attempt, slot)
        findings = [Finding("scripted", "scripted", "gate", verdict, f"the script says {verdict.name}")]
        digest = _digest(wiring.step(stage, slot, "compare"))
        body = {"slot": slot, "verdict": verdict.name, "evidence_digest": digest, "findings": []}
        wiring.note(stage, slot, "compare", type_=RecordType.VERDICT_REACHED, body=body)
        return verdict, findings

    def _report(self, stage: str, slot: int) -> None:
        body = {"html": f"{stage}.html", "md": f"{stage}.md", "slot": slot}
        self.wiring.note(stage, slot, "report", type_=RecordType.REPORT_RENDERED, body=body)

    def _ask(self, stage: str, digest: str) -> None:
        while self._waits and is_open(self.wiring, stage):
            self.wiring.clock.sleep(ANSWER_POLL_S)


class FlowEnded(GraygateError):
    """A flow ended with a sentence, as `flows/rollout.py` and `tasks/walk.py` do."""


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
