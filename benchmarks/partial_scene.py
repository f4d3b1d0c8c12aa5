"""One rollout of twenty symbols in one process, and what its signal path runs, read from memory."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.one_process import Door, NobodyWalks, Restarter, Steered
from benchmarks.staged import plan_staged
from config.loader import load_caps
from engine.adapters.journal_file import FileJournal
from engine.clock import NS_PER_S, FakeClock
from engine.errors import RefusedError
from engine.rollout.decision import Answer
from engine.rollout.guardian import Guardian
from engine.rollout.journal import RecordType
from engine.rollout.orders import Orders
from engine.rollout.spec import ReleaseSpec, RolloutSpec
from engine.rollout.state import RolloutState
from engine.strategy.fold import CANARY
from engine.strategy.layout import BASELINE_ARM, CANARY_ARM
from engine.strategy.params import FINGERPRINT_DIGITS, canonical_json, digest, parse_params
from engine.strategy.table import Rows, param_rows

PLACES = 20
SYMBOLS = tuple(f"B{number:02d}USDT.simulated" for number in range(PLACES))
HALF = SYMBOLS[: PLACES // 2]
STARTS = ("first stage", "second stage")


class GuardianDied(BaseException):
    """The guardian's process is gone in the middle of what it did."""


def release(text: str) -> ReleaseSpec:
    """Parameters under the fingerprint that they have."""
    return ReleaseSpec(text, digest(text)[:FINGERPRINT_DIGITS])


def with_limit(text: str, limit: Any, symbol: str | None = None) -> str:
    """The same parameters with another position limit while active, on one symbol or, if None, in general."""
    plain = json.loads(text)
    if symbol is None:
        plain["active"]["risk"]["position_limit"] = limit
    else:
        sections = ("schedule", "market", "hysteresis", "active", "quiet", "fusion", "paper")
        own = json.loads(json.dumps({name: plain[name] for name in sections}))
        own["active"]["risk"]["position_limit"] = limit
        plain["per_symbol"][symbol] = own
    return canonical_json(plain)


@cache
def rows_of(text: str) -> Rows:
    """The parameter rows of all symbols."""
    return param_rows(parse_params(text, digest(text)[:FINGERPRINT_DIGITS]), SYMBOLS)


@cache
def plan(home: Path, start: str) -> RolloutSpec:
    """The shipped production plan: all symbols in the stage that is due, half of them in the one before."""
    spec = plan_staged(home, "partial", SYMBOLS)
    old, new = (release(with_limit(spec.baseline.params, limit)) for limit in (0.9, 0.8))
    first, second, *_ = (stage.name for stage in spec.plan.stages)
    releases = {**spec.releases, first: old, second: new} if start == STARTS[1] else {**spec.releases, first: new}
    symbols = {**spec.symbols, first: HALF} if start == STARTS[1] else spec.symbols
    return replace(spec, releases=releases, symbols=symbols)


class Scene:
    """Guardian, orders and service of one rollout whose next deploy is due.

    `wholes` are states that may be: a name for each pair of candidate and symbols live on it; `carried_out` those
    that a stage may stand on. `mixtures` are states that were seen after a command and are none of them.
    `fault_tick` is the tick in which the fault came, from 1.
    """

    def __init__(self, folder: Path, start: str) -> None:
        self.clock = FakeClock()
        self.spec = plan(folder / "plan", start)
        self.stage = self.spec.plan.stages[STARTS.index(start)].name
        self.symbols: Sequence[str] = self.spec.symbols[self.stage]
        self.journal = FileJournal(folder / "journal.jsonl", self.spec.rollout, self.clock)
        self.journal.append(RecordType.ROLLOUT_PLANNED, {})
        self.orders = Orders(self.journal, self.spec.plan)
        caps = replace(load_caps(), instruments=("*",))
        self.door = Door(folder / "service", self.spec, caps, self.clock)
        self.service = Steered(self.door)
        self.wholes: dict[str, tuple[ReleaseSpec, frozenset[str]]] = {}
        self.carried_out = {"new"}
        self.mixtures: list[str] = []
        self.ticks = 0
        self.fault_tick = 1
        self._guardians = 0
        self.guardian = self.another_guardian()
        if start == STARTS[1]:
            self._pass_first_stage()
            self.ticks = 0
        self.allow("new", self.spec.releases[self.stage], self.symbols)
        self.door.seen = self._note

    def allow(self, name: str, candidate: ReleaseSpec, symbols: Sequence[str]) -> None:
        """Let a state be one that may be."""
        self.wholes[name] = (candidate, frozenset(symbols))

    def another_guardian(self) -> Guardian:
        """A guardian's process, started."""
        self._guardians += 1
        orders = Orders(FileJournal(self.journal.path, self.spec.rollout, self.clock), self.spec.plan)
        name = f"guardian {self._guardians}"
        guardian = Guardian(name, self.spec, orders, self.service, Restarter(self.door), NobodyWalks(), self.clock)
        guardian.start()
        return guardian

    def order(self) -> None:
        self.orders.order_deploy(self.stage, self.symbols)

    def tick(self) -> None:
        """A second passes: the market moves, the service guards itself, the guardian looks."""
        self.ticks += 1
        self.clock.sleep(1.0)
        if self.door.runtime is not None:
            self.door.consume(1)
        self.door.guard()
        try:
            self.guardian.tick()
        except GuardianDied:
            self.guardian = self.another_guardian()

    def state(self) -> RolloutState:
        return self.orders.state()

    def clock_starts_without_deploy(self) -> bool:
        """Try to start the stage's clock; whether that works though the deploy was not read back."""
        now_ns = self.clock.now_ns()
        is_deployed = self.state().stage(self.stage).is_deployed
        with contextlib.suppress(RefusedError):
            self.orders.start_clock(self.stage, {"start_ns": now_ns, "end_ns": now_ns + NS_PER_S})
            return not is_deployed
        return False

    def whole(self) -> str:
        """Name of the state that the signal path is in, "mixture" with what is wrong if it is none that may be."""
        if self.door.runtime is None:
            return "no process"
        host = self.door.runtime.host
        snapshot, market = host.folding.snapshot, host.folding.memory.market
        if not (market["arms"]["epoch"] == snapshot.versions).all():
            return "mixture: an arm has not adopted"
        live = frozenset(symbol for symbol, arm in host.live_arms().items() if arm == CANARY)
        if live != {arm.symbol for arm in host.live_canaries()} or live != set(host.exposed()):
            return "mixture: two maps of what is live"
        texts = {self.spec.baseline.fingerprint: self.spec.baseline.params}
        texts |= {one.fingerprint: one.params for one, _ in self.wholes.values()}
        for arm in (BASELINE_ARM, CANARY_ARM):
            text = texts.get(snapshot.fingerprints[arm])
            if text is None or snapshot.table[:, arm].tobytes() != rows_of(text).tobytes():
                return f"mixture: rows under {snapshot.fingerprints[arm]} are not those parameters"
        if not live:
            return "baseline"
        found = (snapshot.fingerprints[CANARY_ARM], live)
        names = [name for name, (one, symbols) in self.wholes.items() if (one.fingerprint, symbols) == found]
        return names[0] if names else f"mixture: {found[0]} live on {len(live)} symbols"

    def check_windows(self) -> None:
        """Let two windows close: what they say must be what the memory says."""
        if self.door.runtime is None:
            return
        name, live = self.whole(), self.door.runtime.host.live_fingerprints()
        arms = self.door.runtime.host.live_arms()
        for record in self.door.consume(2):
            is_live = arms[record.symbol] == record.arm
            if record.live != is_live or (is_live and record.fingerprint != live[record.symbol]):
                self.mixtures.append(f"{name}: the window of {record.symbol} {record.arm} says {record.fingerprint}")

    def close(self) -> None:
        self.door.close()

    def _note(self) -> None:
        whole = self.whole()
        if whole.startswith("mixture"):
            self.mixtures.append(whole)

    def _pass_first_stage(self) -> None:
        """The first stage is deployed on half of the symbols, judged, approved and left."""
        stage = self.spec.plan.stages[0].name
        self.allow("old", self.spec.releases[stage], self.spec.symbols[stage])
        self.orders.order_deploy(stage, self.spec.symbols[stage])
        self.tick()
        now_ns = self.clock.now_ns()
        self.orders.start_clock(stage, {"start_ns": now_ns, "end_ns": now_ns + NS_PER_S})
        for type_, body in (
            (RecordType.SLOT_OBSERVED, {"slot": 1, "is_last": True}),
            (RecordType.VERDICT_REACHED, {"slot": 1, "verdict": "PASS", "evidence_digest": "e"}),
            (RecordType.APPROVAL_REQUESTED, {"evidence_digest": "e"}),
            (RecordType.APPROVAL_GIVEN, {"decision": Answer.ADVANCE.value, "name": "Ada"}),
        ):
            self.journal.append(type_, body, stage=stage)
        self.orders.advance(stage, "Ada")
        assert self.whole() == "old", self.whole()
