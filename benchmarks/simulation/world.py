"""One simulated rollout: the real guardian, flow steps, orders and journal over a model of everything else.

`World(seed)` is one history. Time is skipped where nothing can happen: every process polls and would see what it
saw before. A guardian that lives and reaches the service would have renewed the lease meanwhile, so the model renews it
on its behalf before time is skipped; it does so in no other case. Shortly before anything that is planned, and before
the end of a slot, the processes poll again as they do in real time.
"""

from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from benchmarks.simulation.crew import JOURNAL, Crew, Parts
from benchmarks.simulation.facts import Facts
from benchmarks.simulation.history import Outlook, Result
from benchmarks.simulation.hub import BLOCKED, Process
from benchmarks.simulation.invariants import (
    Broken,
    Moment,
    breaks_of_effect,
    breaks_of_moment,
    breaks_of_record,
    i4_orders_have_outcomes,
    i6_acknowledged_is_durable,
    i7_chain_is_whole,
)
from benchmarks.simulation.service import TTL_S, Effect
from engine.clock import NS_PER_S
from engine.errors import GraygateError, JournalError
from engine.rollout.due import next_due
from engine.rollout.guardian import Fenced
from engine.rollout.journal import Record, RecordType
from engine.rollout.state import PROMOTED, RolloutState

CALM_S = 1.2
LEAD_S = 1.2
LEAST_SKIP_S = 20.0
GUARD_NS = NS_PER_S // 4
"""How often the service's own guard loop looks."""

GRACE_S = 400.0
DAY_S = 86_400.0
PATIENCE = 1.25
"""A rollout that people keep waiting is given a quarter more time."""


class World(Crew):
    """A crew in time, with every invariant checked after every event. `run` takes it to its end."""

    def __init__(self, seed: int, days: float = 24.0, parts: Parts | None = None) -> None:
        super().__init__(seed, parts)
        self.days = days
        self.hub.on_death = self._on_death
        self.service.on_effect = self._see_effect
        self.facts = Facts(self.spec)
        self.listeners: list[Callable[[Record], None]] = []
        self.faults: Counter[str] = Counter()
        self.fault_ends_ns = self.resumed_ns = self.began_ns
        self.keeps_away_until_ns = self._guards_ns = 0
        self.events = 0
        self.is_ending = False
        self._outlook = Outlook(-1, False, frozenset(), False, False, None)
        self._broken: list[str] = []
        self._history = sha256()
        self._settled_ns = self._busy_ns = self.began_ns

    def run(self) -> Result:
        """Live through the days, give everything time to settle, and look once more."""
        broken = None
        try:
            self.begin()
            end_ns, step_ns = self.began_ns + _ns(self.days * DAY_S), _ns(self.days * DAY_S * 0.05)
            self.live_until(end_ns)
            while self.state().outcome is None and self.hub.now_ns() < self.began_ns + _ns(
                self.days * DAY_S * PATIENCE
            ):
                self.live_until(self.hub.now_ns() + step_ns)
            self.settle()
        except Broken as found:
            broken = str(found)
        finally:
            self.hub.close()
        return self._result(broken)

    def begin(self) -> None:
        """Plan the rollout, start guardian and flow."""
        journal = self.parts.journal(JOURNAL, self.spec.rollout, self.clock, disk=self.disk)
        journal.append(RecordType.ROLLOUT_PLANNED, {"kind": self.spec.plan.kind}, actor=self.spec.requester)
        self.see(journal.records())
        self.start_guardian()
        self.start_flow("flow", waits=True)

    def settle(self) -> None:
        """End what is wrong, wait, and look at everything. Raises Broken."""
        self.is_ending = True
        self.end_faults()
        self.live_until(max(self.hub.now_ns(), self.fault_ends_ns) + _ns(GRACE_S))
        self.check_journal()
        self._note(i4_orders_have_outcomes(self.facts))
        self._raise_broken()

    def start_guardian(self) -> Process:
        """A guardian starts; from here on it is asked to see to everything."""
        self.fault_ends_ns = max(self.fault_ends_ns, self.hub.now_ns())
        return super().start_guardian()

    def end_faults(self) -> None:
        """Overridden by worlds that have faults."""

    def live_until(self, until_ns: int) -> None:
        """Let everything happen up to a time. Raises Broken."""
        while (now_ns := self.hub.now_ns()) < until_ns:
            self._skip(now_ns, until_ns)
            trip_ns = self._trip_ns()
            next_ns = min(self.hub.next_ns(), trip_ns, until_ns)
            self.clock.pass_ns(max(0, next_ns - self.hub.now_ns()))
            if trip_ns <= next_ns:
                self.service.guard()
                self._guards_ns = self.hub.now_ns() + GUARD_NS
                self.hub.change()
            elif next_ns < until_ns:
                self.hub.turn()
            self.events += 1
            self._check_moment()

    # What is seen

    def see(self, records: Any) -> None:
        for record in records[len(self.facts.records) :]:
            self._note(*breaks_of_record(self.facts, record, self.hub.now_ns() + self.service.market_offset_ns))
            self.facts.take(record, self.service.market_ns())
            self.log(f"{record.seq} {record.type.value}")
            self.hub.change()
            for listener in list(self.listeners):
                listener(record)

    def begin_fault(self, name: str, seconds: float = 0.0) -> None:
        """Count a fault; for `seconds` nothing is asked of the world but what must hold always."""
        if name:
            self.faults[name] += 1
        self.fault_ends_ns = max(self.fault_ends_ns, self.hub.now_ns() + _ns(seconds))
        self.log(f"fault {name} {seconds}")
        self.hub.change()

    def log(self, line: str) -> None:
        """Add to the history."""
        self._history.update(f"{self.hub.now_ns() - self.began_ns} {line}\n".encode())

    def state(self) -> RolloutState:
        """The present, from what was acknowledged."""
        return self.folding.state(self.facts.records)

    def outlook(self) -> Outlook:
        """What the present records make of the future."""
        if self._outlook.seq != len(self.facts.records):
            self._outlook = self._look_ahead(self.state())
        return self._outlook

    def due_ns(self) -> int | None:
        return self.outlook().slot_ns

    def guardian(self) -> Process | None:
        """The guardian that is at work; one that is stopped is not."""
        now_ns = self.hub.now_ns()
        return next((one for one in self.hub.processes if one.kind == "guardian" and one.thaws_ns <= now_ns), None)

    def power_loss(self, off_s: float) -> None:
        """Everything stops, the disk loses what was not synced, the machine boots again."""
        for process in list(self.hub.processes):
            self.hub.kill(process)
        self.service.die()
        self.disk.crash(self.dice)
        self.clock.reboot(off_s)
        self.forget_readings()
        self.check_journal()

    def check_journal(self) -> None:
        """Read everything back from the disk as a new process would."""
        try:
            found = self.parts.journal(JOURNAL, self.spec.rollout, self.clock, disk=self.disk).records()
            self._note(i6_acknowledged_is_durable(self.facts.records, found), i7_chain_is_whole(found))
        except JournalError as error:
            self._note(f"{i7_chain_is_whole.__name__}: {error}")

    def excerpt(self) -> list[str]:
        """The end of the journal."""
        return [record.to_line().decode() for record in self.facts.records[-25:]]

    def _see_effect(self, effect: Effect) -> None:
        self._note(*breaks_of_effect(self.facts, effect))
        self.log(f"{effect.kind} {effect.epoch} {','.join(sorted(effect.after))}")
        if effect.before != effect.after or effect.kind != "roll_back":
            self.hub.change()

    def _look_ahead(self, state: RolloutState) -> Outlook:
        pending = (state.deploying, state.drilling, state.rolling_back, state.killing)
        stage, due = state.current, next_due(self.spec.plan, state)
        end_ns = None if due is None or state.stage(due[0]).is_over else self.facts.slot_ns(*due)
        waits = state.outcome is not None or (stage is not None and stage.waits_for_a_person)
        return Outlook(
            len(self.facts.records), any(order is not None for order in pending), frozenset(state.desired()), waits,
            state.is_aborted, None if end_ns is None else end_ns - self.service.market_offset_ns,
            state.outcome == PROMOTED,
        )  # fmt: skip

    # Time

    def _trip_ns(self) -> int:
        """When the service's guard loop would find that its lease ran out."""
        if not self.service.live or self.service.hangs:
            return BLOCKED
        ends_ns = self.service.lease_ends_ns()
        return max(self._guards_ns, self.hub.now_ns() if ends_ns is None else ends_ns + GUARD_NS)

    def _skip(self, now_ns: int, until_ns: int) -> None:
        if now_ns - self.hub.changed_ns < _ns(CALM_S) or not self._is_calm(now_ns):
            return
        slot_ns = self.outlook().slot_ns
        bounds = [until_ns, *(one.thaws_ns for one in self.hub.processes if one.thaws_ns > now_ns)]
        bounds += [slot_ns] if slot_ns is not None else []
        bounds += [self.hub.planned[0].at_ns] if self.hub.planned else []
        skipped_ns = min(bounds) - now_ns - _ns(LEAD_S)
        if skipped_ns < _ns(LEAST_SKIP_S):
            return
        for process in self.hub.processes:
            if process.wake_ns != BLOCKED:
                process.wake_ns = now_ns + skipped_ns
        if self.service.live and self.service.kept.lease is not None:
            epoch, boot, renewed_ns = self.service.kept.lease
            self.service.kept.lease = (epoch, boot, renewed_ns + skipped_ns)
        self.clock.pass_ns(skipped_ns)

    def _is_calm(self, now_ns: int) -> bool:
        """Whether every process would go on seeing what it saw at its last look."""
        service, outlook = self.service, self.outlook()
        if now_ns < self.fault_ends_ns or any(one.is_busy(now_ns) for one in self.hub.processes):
            return False
        if not service.is_running or service.hangs or "guardian" in self.weather.cut_off or self.guardian() is None:
            return False
        if not outlook.is_settled(service.live) or any(one.kind == "person" for one in self.hub.processes):
            return False
        if outlook.waits_for_people:
            return True
        is_waiting = outlook.slot_ns is not None and outlook.slot_ns > now_ns
        return is_waiting and any(process.kind == "flow" for process in self.hub.processes)

    # Checks

    def _check_moment(self) -> None:
        now_ns, outlook, service = self.hub.now_ns(), self.outlook(), self.service
        calm_from_ns = now_ns if self.guardian() is None else min(now_ns, self.fault_ends_ns)
        self._settled_ns = max(self._settled_ns, calm_from_ns)
        self._busy_ns = max(self._busy_ns, calm_from_ns)
        if outlook.is_settled(service.live):
            self._settled_ns = now_ns
        is_waiting = outlook.slot_ns is not None and outlook.slot_ns >= now_ns
        if outlook.waits_for_people or outlook.is_aborted or is_waiting:
            self._busy_ns = now_ns
        ends_ns = service.lease_ends_ns()
        can_act = service.is_running and not service.hangs and ends_ns is not None
        moment = Moment(
            live=service.live_fingerprints() if service.is_running and service.live else {},
            stable=service.stable,
            renewed_s=min(now_ns - (ends_ns or 0), now_ns - self.resumed_ns) / NS_PER_S + TTL_S if can_act else None,
            unsettled_s=(now_ns - self._settled_ns) / NS_PER_S,
            idle_s=(now_ns - self._busy_ns) / NS_PER_S,
        )
        self._note(*breaks_of_moment(self.facts, moment))
        self._raise_broken()

    def _on_death(self, process: Process) -> None:
        error = process.error
        if error is not None and not isinstance(error, GraygateError):
            self._note(f"no_process_crashes: {process.name} ended with {error!r}")
        self.log(f"end {process.name} {type(error).__name__}")
        if process.kind == "guardian" and not isinstance(error, Fenced):
            away_s = max(0, self.keeps_away_until_ns - self.hub.now_ns()) / NS_PER_S
            self.hub.plan(self.dice.uniform(1.0, 8.0) + away_s, self.restart_guardian)

    def _note(self, *found: str | None) -> None:
        self._broken += [sentence for sentence in found if sentence is not None]

    def _raise_broken(self) -> None:
        if self._broken:
            raise Broken(self._broken[0])

    def _result(self, broken: str | None) -> Result:
        for name in self.disk.list(JOURNAL.parent):
            if name.endswith(".jsonl"):
                self._history.update(self.disk.read(JOURNAL.parent / name))
        return Result(
            self.seed, self.state().outcome or "running", (self.hub.now_ns() - self.began_ns) / NS_PER_S / DAY_S,
            self.events, self.faults, self.facts.rollbacks, self._history.hexdigest(), broken,
            self.excerpt() if broken else [],
        )  # fmt: skip


def _ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)
