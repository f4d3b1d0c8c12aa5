"""SIGKILL of orchestrator, guardian and service at every step boundary and at random moments of real rollouts.

    python -m benchmarks.crash_matrix --count 10000 [--seed 1]

Each rollout is real: the service folds a simulated market, the guardian deploys, the steps of `tasks/walk.py`
collect, judge and ask; people answer, hold, roll back and re-arm. One of the three processes is doomed to die at its
n-th step to the outside (every n in turn: before and after each operation on the journal's disk and each command of
the control socket) or at a random moment, is started again as systemd would, and doomed anew. At the end of every
rollout the journal, the service and the evidence must agree.

`wrong_states`: what is live is not what the journal says, an order without outcome or with two, a step done twice, a
rollout that went back though the service never died, or that stands still. `lost_decisions`: an answer that was
acknowledged to a person and is not in the journal, or was not obeyed. Prints one JSON line last.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.forking import Doom, reap, spawn
from config.loader import CONFIG_DIR
from engine import guard, serve
from engine.adapters.processes import pid_of, stop
from engine.errors import GraygateError, RefusedError
from engine.rollout.approvals import ApprovalRequest, submit
from engine.rollout.decision import Answer
from engine.rollout.journal import RecordType
from engine.rollout.rollback import require_baseline
from engine.rollout.state import ROLLED_BACK
from engine.strategy.warm import warm_up
from tasks import walk
from tasks.planning import plan_rollout
from tasks.wiring import Wiring, open_rollout

PATIENCE_S = 90.0
"""How long a rollout may make no progress."""

ATTEMPTS = 3
MAINS = {"service": serve.main, "guardian": guard.main, "flow": walk.main}
OUTCOMES = {
    RecordType.DEPLOY_ORDERED: (RecordType.DEPLOYED, RecordType.DEPLOY_REFUSED),
    RecordType.ROLLBACK_ORDERED: (RecordType.ROLLED_BACK,),
    RecordType.KILL_ORDERED: (RecordType.KILLED,),
}


@dataclass
class Tally:
    """What happened over all rollouts."""

    kills: Counter[str] = field(default_factory=Counter)
    rollouts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


class Life:
    """One rollout and its three processes, which die again and again."""

    def __init__(self, home: Path, seed: int, tally: Tally, wanted: int) -> None:
        self.dice = random.Random(seed)
        self.folder = plan(home, seed)
        self.wiring: Wiring = open_rollout(self.folder)
        self.tally = tally
        self.wanted = wanted
        self.steps = Counter[str]()
        self.pids: dict[str, int] = {}
        self.deadlines: dict[str, float] = {}
        self.service_deaths = 0
        self.person_stopped = False
        self.acknowledged: list[str] = []

    def run(self) -> str:
        """Live to the end of the rollout, whatever dies; return how it ended."""
        self.start("service")
        self.start("guardian")
        self.start("flow")
        moved, seen = time.monotonic(), 0
        while not self.is_over():
            self.attend()
            self.be_a_person()
            seq = self.wiring.journal.head()[0]
            if seq != seen:
                moved, seen = time.monotonic(), seq
            if time.monotonic() - moved > PATIENCE_S:
                self.tally.wrong.append(f"{self.folder.name}: stands still")
                return "stuck"
            time.sleep(0.005)
        return self.wiring.state().outcome or "none"

    def start(self, name: str) -> None:
        """Start a process, mostly doomed."""
        folder = self.folder / "service" if name == "service" else self.folder
        argument = self.folder / "service" / "service.json" if name == "service" else self.folder
        doom = None
        if sum(self.tally.kills.values()) < self.wanted and name != "service":
            if self.dice.random() < 0.7:
                self.steps[name] += 1
                doom = Doom(self.dice.randint(1, 8 + 3 * self.steps[name]), self.dice.random() < 0.5)
            else:
                self.deadlines[name] = time.monotonic() + self.dice.expovariate(1 / 0.4)
        if name == "service":
            for stale in ("control.sock", "http_port"):
                (folder / stale).unlink(missing_ok=True)
            self.deadlines[name] = time.monotonic() + self.dice.expovariate(1 / 15.0)
        self.pids[name] = spawn(name, MAINS[name], argument.resolve(), folder, doom)

    def attend(self) -> None:
        """Kill whose time has come, bury the dead, start them again."""
        for name, pid in list(self.pids.items()):
            if name in self.deadlines and time.monotonic() > self.deadlines[name]:
                del self.deadlines[name]
                self.kill(name)
            code = reap(pid)
            if code is None:
                continue
            del self.pids[name]
            self.deadlines.pop(name, None)
            if code == -signal.SIGKILL:
                self.tally.kills[name] += 1
            if name == "service":
                self.service_deaths += 1  # the guardian starts another, a process that is not our child
            elif name == "guardian" or not self.is_settled():
                if self.dice.random() < 0.1:
                    time.sleep(self.dice.uniform(0.0, 1.0))
                self.start(name)

    def kill(self, name: str) -> None:
        """SIGKILL, also to a service that the guardian started."""
        folder = self.folder / "service" if name == "service" else self.folder
        pid = pid_of(name, folder)
        if pid is not None and pid == self.pids.get(name):
            os.kill(pid, signal.SIGKILL)

    def is_settled(self) -> bool:
        """Whether the flow has nothing to do."""
        state = self.wiring.state()
        waits = state.current is not None and state.current.waits_for_a_person
        return state.outcome is not None or waits

    def is_over(self) -> bool:
        """Whether it ended, also for a person who might re-arm it."""
        state = self.wiring.state()
        if state.outcome is None or state.rolling_back is not None or state.killing is not None:
            return False
        if state.outcome == ROLLED_BACK and state.attempt < ATTEMPTS and self.dice.random() < 0.7:
            self.decide(f"re-arm {state.attempt}", lambda: self.wiring.orders.rearm("again", "Ada"))
            if "flow" not in self.pids:
                self.start("flow")
            return False
        return self.wiring.state().report_html is not None or "flow" not in self.pids

    def be_a_person(self) -> None:
        """Answer what is asked; now and then stop everything."""
        state = self.wiring.state()
        stage = state.current
        if stage is not None and stage.waits_for_a_person and state.outcome is None and not state.is_aborted:
            answer = self.dice.choices([Answer.ADVANCE, Answer.HOLD, Answer.ROLL_BACK], [90, 3, 7])[0]
            request = ApprovalRequest(stage.name, stage.requested_digest or "", answer, "Ada", "", "cli")
            self.person_stopped |= answer is not Answer.ADVANCE
            self.decide(f"{answer.value} {stage.name}", lambda: submit(self.wiring.journal, request))
            if "flow" not in self.pids:
                self.start("flow")
        elif stage is not None and stage.is_deployed and self.dice.random() < 0.0005:
            self.person_stopped = True
            self.decide("roll back", lambda: self.wiring.orders.order_rollback("I want it back", "Ada"))

    def decide(self, what: str, order: Any) -> None:
        """Do something a person does, and remember what was acknowledged."""
        try:
            record = order()
        except RefusedError:
            return
        self.acknowledged.append(f"{what}: {record.seq} {record.digest()}")

    def check(self) -> None:
        """Hold journal, service and evidence against each other."""
        name, wrong = self.folder.name, self.tally.wrong
        fresh = open_rollout(self.folder)
        records, state = fresh.journal.records(), fresh.state()
        known = {f"{record.seq} {record.digest()}" for record in records}
        self.tally.lost += [f"{name}: {said}" for said in self.acknowledged if said.partition(": ")[2] not in known]
        steps = Counter(record.step for record in records if record.step)
        wrong += [f"{name}: step {step} was done {count} times" for step, count in steps.items() if count > 1]
        for ordered, outcomes in OUTCOMES.items():
            orders = sum(record.type is ordered for record in records)
            ends = sum(record.type in outcomes for record in records)
            cut_off = sum(record.type is RecordType.ROLLED_BACK for record in records)  # ends a deploy as well
            if not orders - (cut_off if ordered is RecordType.DEPLOY_ORDERED else 0) <= ends <= orders:
                wrong.append(f"{name}: {orders} of {ordered.value}, {ends} outcomes")
        if state.outcome == ROLLED_BACK and not self.service_deaths and not self.person_stopped:
            wrong.append(f"{name}: went back though the service never died: {state.reason}")
        self.check_service(fresh)

    def check_service(self, fresh: Wiring) -> None:
        """What is live must be what the journal wants, or nothing where the service stopped itself."""
        state = fresh.state()
        try:
            status = fresh.service.status()
            if not state.desired():
                require_baseline(status, None)
            elif any(status["live"][symbol] == status["stable"] for symbol in state.desired()):
                raise GraygateError("the candidate is not live where it should be")
        except GraygateError as error:
            if state.outcome == ROLLED_BACK and pid_of("service", self.folder / "service") is None:
                return  # no signal at all: tier "service stopped"
            self.tally.wrong.append(f"{self.folder.name}: {state.outcome}: {error}")

    def end(self) -> None:
        """Stop what is left."""
        for name in ("guardian", "flow"):
            stop(name, self.folder, patience_s=0.5)
        stop("service", self.folder / "service", patience_s=0.5)
        for pid in self.pids.values():
            reap(pid, wait=True)


def plan(home: Path, seed: int) -> Path:
    """Plan a rollout whose candidate does what the baseline does, under another fingerprint."""
    candidate = home / "candidate.yaml"
    if not candidate.exists():
        unused = "strategy: {active: {risk: {position_limit: 0.9}}}"  # pinned to quiet, it is never active
        candidate.write_text(f"extends: {CONFIG_DIR / 'baseline.yaml'}\n{unused}\n")
    return plan_rollout(
        home=home, plan_path=CONFIG_DIR / "rehearsal.yaml", candidate=candidate, feed=None, seed=seed, speed=0.0,
        approve="ask", language="en", environment={}, requester="Rita",
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="how many kills")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    warm_up()
    tally, started = Tally(), time.monotonic()
    seed = options.seed
    while sum(tally.kills.values()) < options.count:
        home = Path(tempfile.mkdtemp(prefix="crash-"))
        life = Life(home, seed, tally, options.count)
        outcome = life.run()
        tally.rollouts[outcome] += 1
        life.check()
        life.end()
        print(f"{sum(tally.kills.values())} kills, {dict(tally.rollouts)}, {len(tally.wrong)} wrong", file=sys.stderr)
        if not tally.wrong and not tally.lost:
            shutil.rmtree(home)
        seed += 1
    result = {
        "kills": sum(tally.kills.values()), "by_process": dict(tally.kills), "wrong_states": len(tally.wrong),
        "lost_decisions": len(tally.lost), "rollouts": dict(tally.rollouts), "seed": options.seed,
        "seconds": round(time.monotonic() - started, 1), "examples": (tally.wrong + tally.lost)[:5],
    }  # fmt: skip
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
