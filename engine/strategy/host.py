"""All symbols of the service: which arm is live where, and parameters changed on all or on none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.errors import RefusedError
from engine.strategy.caps import Caps, cap_rows
from engine.strategy.events import TICK_NS, EventBatch, Instrument, Slice
from engine.strategy.fold import ARM_NAMES, ARMS, BASELINE, CANARY, Fold
from engine.strategy.guardrails import LiveArm, LiveCanaries
from engine.strategy.kernels import paper
from engine.strategy.kernels.fold import switch_mode
from engine.strategy.layout import ACTIVE, CANARY_ARM, GUARDRAIL, QUIET
from engine.strategy.mode import MODES, Reason, Transition, transition_diff
from engine.strategy.params import StrategyParams, parse_params
from engine.strategy.records import Measurement, WindowRecord
from engine.strategy.state import Rows
from engine.strategy.table import first_snapshot, param_rows, prepare


@dataclass(frozen=True, slots=True)
class Deployment:
    """What the rollout wants: candidate parameters, live on these symbols. `epoch` fences old writers."""

    rollout_id: str
    stage: str
    epoch: int
    fingerprint: str
    params: str
    live: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Parameters that were read and proven. `rows` is what `param_rows` gives: PARAMS, shape (n_symbols, 2 modes)."""

    params: StrategyParams
    rows: Rows


@dataclass(frozen=True, slots=True)
class Stamp:
    """What is in force from a moment on: it is written on the windows that start under it."""

    since_ns: int
    rollout_id: str | None
    stage: str | None
    live: Mapping[str, str]


class Host:
    """The strategy side of the service: a fold over slices, and the two-phase update.

    `epoch` is the highest seen; `killed` has the epoch of the kill per symbol.
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        measurement: Measurement,
        stable: StrategyParams,
        caps: Caps,
        *,
        with_depth: bool = False,
    ) -> None:
        symbols = [item.symbol for item in instruments]
        self.instruments = tuple(instruments)
        self.measurement = measurement
        capped = cap_rows(caps, symbols)
        self.folding = Fold(instruments, measurement, first_snapshot(stable, symbols), capped, with_depth=with_depth)
        self.epoch = 0
        self.clock_ns = 0
        self.killed: dict[str, int] = {}
        self._is_tradable = capped["is_tradable"].copy()
        self._index = {symbol: i for i, symbol in enumerate(symbols)}
        self._stamp = self._stamp_before = Stamp(0, None, None, dict.fromkeys(symbols, BASELINE))
        self._places = np.arange(len(symbols))
        self._live_arms = np.full(len(symbols), ARMS[BASELINE])
        self._canaries = LiveCanaries(len(symbols))

    @property
    def stage(self) -> str | None:
        return self._stamp.stage

    @property
    def symbols(self) -> tuple[str, ...]:
        return self.folding.symbols

    @property
    def stable_fingerprint(self) -> str:
        return self.folding.snapshot.fingerprints[ARMS[BASELINE]]

    def consume(self, piece: Slice) -> list[WindowRecord]:
        """Fold one slice through every symbol; return the windows it closed, stamped."""
        closed = [self._stamped(record) for record in self.folding.consume(piece)]
        self.clock_ns = piece.clock_ns
        return closed

    def hear(self, batches: Mapping[str, EventBatch]) -> list[WindowRecord]:
        """Fold what just arrived of some symbols, each in the running tick; return the windows that closed.

        Ticks before an arrival are run first. Symbols that are silent are brought up to date by `consume`.
        """
        closed: list[WindowRecord] = []
        for symbol, batch in batches.items():
            arrived_ns = int(batch.events["arrival_ns"][-1])
            if not self.folding.has_begun:
                self.folding.begin(arrived_ns // TICK_NS * TICK_NS)
            until_ns = max(self.clock_ns, (arrived_ns - 1) // TICK_NS * TICK_NS)
            closed += self.folding.fold(self._index[symbol], batch, until_ns)
        return [self._stamped(record) for record in closed]

    def take_transitions(self) -> list[tuple[str, str, Transition, dict[str, tuple[Any, Any]]]]:
        """Mode changes since the last call: symbol, arm, the change, and the parameters it changes."""
        taken = list(self.folding.transitions)
        self.folding.transitions.clear()
        params = self.folding.snapshot.params
        return [
            (symbol, arm, change, transition_diff(change, params[ARMS[arm]].for_symbol(symbol)))
            for symbol, arm, change in taken
        ]

    def lost_books(self) -> list[str]:
        """Symbols whose book had to be forgotten and waits for a snapshot."""
        market = self.folding.memory.market
        lost = (market["has_depth"] == 1) & (market["has_book"] == 0)
        return [self.symbols[i] for i in lost.nonzero()[0]]

    def _stamped(self, record: WindowRecord) -> WindowRecord:
        stamp = self._stamp if record.window_start_ns >= self._stamp.since_ns else self._stamp_before
        record.rollout_id, record.stage = stamp.rollout_id, stamp.stage
        record.live = stamp.live[record.symbol] == record.arm
        return record

    def live_fingerprints(self) -> dict[str, str]:
        """Fingerprint of the parameters that produce each symbol's live signal, read from the arm itself."""
        snapshot = self.folding.snapshot
        found = {}
        for symbol, arms in zip(self.symbols, self.folding.memory.market["arms"], strict=True):
            arm = ARMS[self._stamp.live[symbol]]
            has_adopted = arms[arm]["epoch"] == snapshot.versions[arm]
            found[symbol] = snapshot.fingerprints[arm] if has_adopted else "not adopted"
        return found

    def live_arms(self) -> dict[str, str]:
        """Name of the live arm per symbol."""
        return dict(self._stamp.live)

    def exposed(self) -> tuple[str, ...]:
        """Symbols whose live arm runs the candidate."""
        return tuple(symbol for symbol, arm in self._stamp.live.items() if arm == CANARY)

    def live_canaries(self) -> tuple[LiveArm, ...]:
        """What guardrails look at: every canary arm that is live."""
        return self._canaries.read(self.symbols, self.folding.memory.market, self.folding.snapshot.table, self.clock_ns)

    def newest_event_ns(self) -> int:
        """Arrival of the newest event of any symbol, market time; where the market began before there was one."""
        market = self.folding.memory.market
        return int(max(market["last_event_ns"].max(), market["begun_ns"].max()))

    def slowest_symbol_ns(self) -> int:
        """The least market clock of all symbols: it moves only if every symbol is folded."""
        return int(self.folding.memory.market["now_ns"].min())

    def coalesce_ns(self) -> int:
        """How long the feed may gather events before they are folded: what every live arm allows."""
        places, live = self._places, self._live_arms
        modes = self.folding.memory.market["arms"]["mode"][places, live]
        return int(self.folding.snapshot.table["coalesce_ns"][places, live, modes].min())

    def read(self, wanted: Deployment) -> Candidate:
        """Read the parameters of a deployment; changes nothing, and may run in another thread.

        This is the slow part of an update. Raises ConfigError or RefusedError.
        """
        self.require_servable(wanted)
        params = parse_params(wanted.params, wanted.fingerprint)
        return Candidate(params, param_rows(params, self.symbols))

    def apply(self, wanted: Deployment, candidate: Candidate | None = None) -> None:
        """Put candidate parameters into every canary arm, and make it live on the wanted symbols.

        `candidate` is what `read` gave for the same deployment; without it, it is read here. Two phases:
        everything is read, checked and built first; then one reference changes, for all symbols or, if one
        refuses, for none. Raises ConfigError or RefusedError with nothing changed.
        """
        if candidate is None:
            candidate = self.read(wanted)
        self.require_servable(wanted)
        snapshot, params, rows = self.folding.snapshot, candidate.params, candidate.rows
        if wanted.fingerprint != snapshot.fingerprints[ARMS[CANARY]]:
            self.folding.publish(prepare(snapshot, rows, wanted.fingerprint, params, wanted.epoch, self.symbols))
            self._settle()
        self.epoch = wanted.epoch
        live = {symbol: CANARY if symbol in wanted.live else BASELINE for symbol in self.symbols}
        self._put_in_force(Stamp(self.clock_ns, wanted.rollout_id, wanted.stage, live))

    def _settle(self) -> None:
        """Let every arm take notice, and note the modes that pins changed."""
        modes = self.folding.memory.market["arms"]["mode"]
        before = modes.copy()
        self.folding.settle()
        for i, j in np.argwhere(modes != before).tolist():
            change = Transition(self.clock_ns, MODES[before[i, j]], MODES[modes[i, j]], Reason.MANUAL)
            self.folding.transitions.append((self.symbols[i], ARM_NAMES[j], change))

    def roll_back(self, symbols: Sequence[str] | None, epoch: int) -> None:
        """Make the baseline live again on these symbols, on all if None. The canary goes on in shadow."""
        self._check_symbols(symbols or ())
        self.take_epoch(epoch)
        self._lower(self.symbols if symbols is None else symbols)

    def stand_down(self) -> None:
        """Make the baseline live on every symbol and the canary arms quiet: no epoch is asked for, nothing refuses."""
        self._lower(self.symbols)
        market, rows = self.folding.memory.market, self.folding.snapshot.rows
        for i in (market["arms"]["mode"][:, CANARY_ARM] == ACTIVE).nonzero()[0].tolist():
            switch_mode(market, i, rows, CANARY_ARM, QUIET, GUARDRAIL)
            change = Transition(self.clock_ns, MODES[ACTIVE], MODES[QUIET], Reason.GUARDRAIL)
            self.folding.transitions.append((self.symbols[i], CANARY, change))

    def kill(self, symbols: Sequence[str] | None, epoch: int) -> None:
        """Baseline, both arms flat, and no orders until `rearm`, on these symbols, on all if None."""
        self._check_symbols(symbols or ())
        self.take_epoch(epoch)
        named = self.symbols if symbols is None else symbols
        self._lower(named)
        self.killed |= dict.fromkeys(named, epoch)
        for symbol in named:
            paper.halt(self.folding.memory.market, self._index[symbol], self.folding.snapshot.rows)

    def rearm(self, epoch: int) -> None:
        """Allow orders again wherever the caps do."""
        self.take_epoch(epoch)
        self.killed = {}
        self.folding.memory.market["caps"]["is_tradable"] = self._is_tradable

    def is_flat(self) -> bool:
        """Whether no killed symbol holds a paper position or has an order under way."""
        arms, places = self.folding.memory.market["arms"], [self._index[symbol] for symbol in self.killed]
        return not any(arms[name][places].any() for name in ("position", "wanted", "due_ns"))

    def disregard_running_windows(self) -> None:
        """Let windows that have begun before now count as not measured, as if parameters had changed inside them."""
        market = self.folding.memory.market
        has_run = market["window_end_ns"] - self.measurement.window_ns() < market["now_ns"]
        market["arms"]["window"]["is_mixed"][has_run] = 1

    def take_epoch(self, epoch: int) -> None:
        """Remember the epoch of whoever gives orders. Raises RefusedError if a later one was seen."""
        self._check_epoch(epoch)
        self.epoch = epoch

    def _lower(self, symbols: Sequence[str]) -> None:
        live = {**self._stamp.live, **dict.fromkeys(symbols, BASELINE)}
        self._put_in_force(replace(self._stamp, since_ns=self.clock_ns, live=live))

    def require_servable(self, wanted: Deployment) -> None:
        """Raise RefusedError for an older epoch, a symbol that is not served here, or one that was killed."""
        self._check_epoch(wanted.epoch)
        self._check_symbols(wanted.live)
        killed = sorted(self.killed.keys() & set(wanted.live))
        if killed:
            raise RefusedError(f"{killed[0]} was killed; it trades again after graygate rearm")

    def _check_symbols(self, symbols: Sequence[str]) -> None:
        unknown = sorted(set(symbols) - set(self.symbols))
        if unknown:
            raise RefusedError(f"symbol {unknown[0]} is not served here; symbols are {', '.join(self.symbols)}")

    def _check_epoch(self, epoch: int) -> None:
        if epoch < self.epoch:
            raise RefusedError(f"epoch {epoch} is older than {self.epoch}: another rollout process took over")

    def _put_in_force(self, stamp: Stamp) -> None:
        """Windows that start from here on carry the new stamp; the running one keeps what it started under.

        Exactly between two windows nothing is mixed, but for symbols whose next one has heard something already.
        """
        into_window_ns = self.clock_ns % self.measurement.window_ns()
        if self._stamp.since_ns <= self.clock_ns - into_window_ns:
            self._stamp_before = self._stamp
        self._stamp = stamp
        self._live_arms = np.array([ARMS[stamp.live[symbol]] for symbol in self.symbols])
        self._canaries.put(self._live_arms == CANARY_ARM, self.folding.memory.market, self.clock_ns)
        if into_window_ns == 0:
            market = self.folding.memory.market
            is_fresh = (market["now_ns"] == self.clock_ns) & (market["last_event_ns"] <= self.clock_ns)
            market["arms"]["window"]["is_mixed"][is_fresh] = 0
