"""The machine of a simulated rollout and the processes that run on it, put together as the real ones are."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.simulation.flow import SimFlow, SimWiring, script
from benchmarks.simulation.hub import Hub, Process
from benchmarks.simulation.machine import PollingClock, ProcessClock, SharedDisk
from benchmarks.simulation.network import Weather, Wire
from benchmarks.simulation.people import Desk
from benchmarks.simulation.plan import spec
from benchmarks.simulation.service import ModelService
from benchmarks.simulation.sharing import SharedFolding, watched
from benchmarks.simulation.supervision import ModelStandIn, ModelSupervisor
from engine.adapters.disk_model import FakeDisk
from engine.adapters.journal_file import FileJournal
from engine.clock import NS_PER_S, FakeClock
from engine.errors import JournalError
from engine.guard import ANSWER_S, POLL_S
from engine.rollout.guardian import TICK_S, Guardian
from engine.rollout.orders import Orders
from engine.rollout.rollback import Rollback
from engine.rollout.spec import RolloutSpec

JOURNAL = Path("/rollout/journal.jsonl")
DISK_BYTES = 8 << 20
FLOW_ANSWER_S = 5.0
FRESH_SHARE = 0.05
"""How many processes read the whole journal themselves; the others begin with what one before them has verified."""


@dataclass(frozen=True)
class Parts:
    """What a world is made of; a test puts a broken part in to see that an invariant finds it.

    `pause_every` is how many operations a process does on average before another gets its turn.
    """

    service: type[ModelService] = ModelService
    disk: type[FakeDisk] = FakeDisk
    journal: type[FileJournal] = FileJournal
    orders: type[Orders] = Orders
    guardian: type[Guardian] = Guardian
    flow: type[SimFlow] = SimFlow
    spec: RolloutSpec = field(default_factory=spec)
    fail_share: float = 0.003
    pause_every: float = 40.0


class Crew:
    """One machine. Nothing but the seed decides what happens on it."""

    def __init__(self, seed: int, parts: Parts | None) -> None:
        self.seed = seed
        self.parts = parts or Parts()
        self.spec = self.parts.spec
        self.dice = Random(seed)
        self.clock = FakeClock()
        self.began_ns = self.clock.elapsed_ns
        self.hub = Hub(self.clock, Random(f"{seed}/hub"), self.parts.pause_every)
        self.disk = self.parts.disk(DISK_BYTES)
        self.shared = SharedDisk(self.disk, self.hub)
        self.service = self.parts.service(self.clock, self.spec.all_symbols, self.spec.baseline.fingerprint)
        self.service.is_live_market = True
        self.weather = Weather()
        self.supervisor = ModelSupervisor(self.hub, self.service, self.dice)
        self.stand_in = ModelStandIn(self.hub, lambda: self.start_flow("stand-in", waits=False))
        self.folding = SharedFolding()
        self._script = script(seed, self.parts.fail_share)
        self._read: Any = None
        self._names = 0

    def see(self, records: Any) -> None:
        """Some process knows these records to be acknowledged."""

    def due_ns(self) -> int | None:
        """When the slot ends that is due, as elapsed time, if one is."""
        return None

    def start_guardian(self) -> Process:
        """Start a guardian as `engine/guard.py` does."""
        name = self._name("guardian")

        def work() -> None:
            journal, clock = self._open_journal(), ProcessClock(self.hub)
            wire = self._wire("guardian", ANSWER_S)
            orders = self._orders(journal)
            guardian = self.parts.guardian(name, self.spec, orders, wire, self.supervisor, self.stand_in, clock)
            try:
                guardian.start()
                while True:
                    self._tick(guardian, journal, clock)
            except JournalError:
                guardian.abandon()
                raise

        return self.hub.start(name, "guardian", work)

    def restart_guardian(self) -> None:
        """What systemd does; the folder's lock allows one guardian only."""
        if all(process.kind != "guardian" for process in self.hub.processes):
            self.start_guardian()

    def start_flow(self, who: str, *, waits: bool, work: Callable[[SimFlow], Any] | None = None) -> Process:
        """Start a flow or a stand-in; `work` is what it does instead of walking the plan."""

        def run() -> None:
            flow = self.parts.flow(self._wiring(), self._script, waits=waits)
            if work is None:
                flow.run(who)
            else:
                work(flow)

        return self.hub.start(self._name(who), "flow", run)

    def person(self, act: Callable[[Desk], None]) -> None:
        """Let a person give one command."""

        def work() -> None:
            wiring = self._wiring()
            act(Desk(wiring.journal, wiring.orders, wiring.rollback, wiring.clock, self.dice, self._restart_dynamic))

        self.hub.start(self._name("person"), "person", work)

    def forget_readings(self) -> None:
        """No process has verified anything yet."""
        self._read = None

    def _tick(self, guardian: Guardian, journal: Any, clock: ProcessClock) -> None:
        started_ns, seq = clock.mono_ns(), journal.head()[0]
        guardian.tick()
        while (left_s := TICK_S - (clock.mono_ns() - started_ns) / NS_PER_S) > 0 and journal.head()[0] == seq:
            self.hub.sleep(POLL_S, at_most_s=left_s)

    def _wiring(self) -> SimWiring:
        journal, wire = self._open_journal(), self._wire("flow", FLOW_ANSWER_S)
        orders = self._orders(journal)
        rollback = Rollback(orders, wire, self.supervisor, ProcessClock(self.hub))
        clock: Any = PollingClock(self.hub, self.due_ns)
        store: Any = None
        attempt = orders.state().attempt
        return SimWiring(JOURNAL.parent, self.spec, journal, orders, rollback, store, store, wire, clock, attempt)

    def _open_journal(self) -> Any:
        journal = watched(self.parts.journal)(JOURNAL, self.spec.rollout, ProcessClock(self.hub), disk=self.shared)
        journal.see = self.see
        if self._read is not None and self.dice.random() > FRESH_SHARE:
            journal.begin_as(self._read)
        self._read = journal
        return journal

    def _wire(self, who: str, timeout_s: float) -> Any:
        return Wire(self.hub, self.service, self.weather, self.dice, who, timeout_s)

    def _orders(self, journal: Any) -> Orders:
        orders = self.parts.orders(journal, self.spec.plan)
        orders._folding = self.folding
        return orders

    def _restart_dynamic(self) -> None:
        if self.supervisor.is_on_baseline:
            self.supervisor.restart(on_baseline=False)

    def _name(self, kind: str) -> str:
        self._names += 1
        return f"{kind}-{self._names}"
