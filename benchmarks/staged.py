"""A rollout of its own folder with its real processes, for benchmarks of safety.

Every stage has all symbols, and the candidate does what the baseline does, under another fingerprint: what
is measured is the way back, not the market. The processes are forked (`forking.py`), the market is simulated
or a venue on this machine.
"""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from benchmarks.forking import reap, spawn
from config.loader import CONFIG_DIR, load_caps, load_guardrails, load_programme
from engine import guard, serve
from engine.adapters.feeds import FeedSpec
from engine.adapters.journal_file import FileJournal
from engine.adapters.live.spec import LiveSpec
from engine.adapters.parquet_store import write_durably
from engine.adapters.processes import pid_of, stop, wait_for_service
from engine.adapters.service_spec import ServiceSpec, spec_bytes
from engine.clock import NS_PER_S, SystemClock
from engine.errors import GraygateError, ServiceError
from engine.rollout.journal import RecordType
from engine.rollout.rollback import require_baseline
from engine.rollout.spec import ReleaseSpec, RolloutSpec
from engine.rollout.state import ROLLED_BACK, RolloutState
from engine.strategy.params import canonical_json
from engine.strategy.records import Measurement
from tasks import walk
from tasks.wiring import open_rollout

START_NS = 1_736_125_500 * NS_PER_S
"""2025-01-06T01:05:00Z."""

PERSON = "Ada"
PATIENCE_S = 60.0
MAINS: dict[str, Callable[[], int]] = {"service": serve.main, "guardian": guard.main, "flow": walk.main}


def plan_staged(home: Path, name: str, symbols: tuple[str, ...]) -> RolloutSpec:
    """The shipped production plan with all symbols in every stage."""
    candidate = home / "candidate.yaml"
    home.mkdir(parents=True, exist_ok=True)
    unused = "strategy: {active: {risk: {position_limit: 0.9}}}"  # pinned to quiet, it is never active
    candidate.write_text(f"extends: {CONFIG_DIR / 'baseline.yaml'}\n{unused}\n")
    programme = load_programme(CONFIG_DIR / "rollout.yaml", candidate, {})
    plan, baseline = programme.plan, programme.baseline
    return RolloutSpec(
        rollout=name, plan=plan, baseline=ReleaseSpec(canonical_json(baseline.params), baseline.fingerprint),
        releases={
            stage: ReleaseSpec(canonical_json(one.params), one.fingerprint) for stage, one in programme.releases.items()
        },
        symbols={stage.name: symbols for stage in plan.stages}, all_symbols=symbols, changes={}, feed_name="benchmark",
        is_simulated=True, seed=1, approve="ask", requester="Rita", market_start_ns=START_NS + NS_PER_S, language="en",
    )  # fmt: skip


def service_spec(
    spec: RolloutSpec, state: Path, *, feed: FeedSpec | None = None, live: LiveSpec | None = None, ttl_s: float = 20.0
) -> ServiceSpec:
    """What the service of a rollout is started with: as shipped, but that its caps allow every symbol."""
    plan = spec.plan
    return ServiceSpec(
        state_dir=str(state.resolve()),
        measurement=Measurement(plan.measurement_window_s, plan.grid_ms, plan.horizons_ms),
        stable_params=spec.baseline.params, stable_fingerprint=spec.baseline.fingerprint,
        caps=replace(load_caps(), instruments=("*",)), guardrails=load_guardrails(), lease_ttl_s=ttl_s,
        feed=feed, live=live,
    )  # fmt: skip


def write_staged(folder: Path, spec: RolloutSpec, service: ServiceSpec) -> None:
    """Write a rollout's folder as planning does."""
    write_durably(folder / "rollout.json", msgspec.json.encode(spec))
    write_durably(folder / "service" / "service.json", spec_bytes(service))
    FileJournal(folder / "journal.jsonl", spec.rollout, SystemClock()).append(RecordType.ROLLOUT_PLANNED, {})


class Staged:
    """One rollout's processes, and the rollout as seen from here. They are children of this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wiring = open_rollout(folder)
        self.stage = self.wiring.plan.stages[0].name
        self._pids: dict[str, int] = {}

    def start(self, name: str) -> None:
        """Fork the service, the guardian or the flow; the service is waited for."""
        state = self.folder / "service"
        folder, argument = (state, state / "service.json") if name == "service" else (self.folder, self.folder)
        self._pids[name] = spawn(name, MAINS[name], argument.resolve(), folder)
        if name == "service":
            wait_for_service(self.folder, lambda: pid_of("service", state) is None)

    def kill(self, *names: str) -> None:
        """SIGKILL, all at once, and bury."""
        pids = [self._pids.pop(name) for name in names if name in self._pids]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            reap(pid, wait=True)

    def state(self) -> RolloutState:
        return self.wiring.state()

    def deploy(self) -> None:
        """Order the candidate onto all symbols, after a rollback in a new attempt, and wait until it is live."""
        if self.state().outcome is not None:
            self.wiring.orders.rearm("again", PERSON)
        self.until(lambda state: not state.is_switched_off)
        self.wiring.orders.order_deploy(self.stage, self.wiring.spec.symbols[self.stage])
        self.until(lambda state: state.stage(self.stage).is_deployed)

    def until(self, holds: Callable[[RolloutState], bool], seconds: float = PATIENCE_S) -> None:
        """Wait for the journal to say so. Raises ServiceError if it does not, or says that the rollout is over."""
        deadline = time.monotonic() + seconds
        while not holds(state := self.state()):
            if time.monotonic() > deadline or (state.outcome == ROLLED_BACK and state.rolling_back is None):
                raise ServiceError(f"{self.folder}: waited in vain; {state.outcome}: {state.reason}")
            time.sleep(0.002)

    def is_on_baseline(self) -> bool:
        """Whether the service says that every symbol is."""
        try:
            status = self.wiring.service.status()
            require_baseline(status, self.wiring.spec.all_symbols)
        except GraygateError:
            return False
        return len(status["live"]) == len(self.wiring.spec.all_symbols)

    def end(self) -> None:
        """Leave nothing behind."""
        self.kill("guardian", "flow")
        stop("flow", self.folder, patience_s=0.5)
        self.kill("service")
        stop("service", self.folder / "service", patience_s=0.5)
