"""Lowering exposure from the command line, wired with nothing that is slow to load or may be broken.

No orchestrator, no network, no numbers library. The journal is written first where it can be; where it
cannot, the baseline goes back nevertheless.
"""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from engine.adapters.control_client import ControlledService
from engine.adapters.journal_file import FileJournal
from engine.adapters.supervisor import supervisor_of
from engine.clock import NS_PER_S, Clock, SystemClock
from engine.errors import ConfigError, JournalError, RefusedError, ServiceError
from engine.rollout.journal import Record, RecordType
from engine.rollout.orders import Orders
from engine.rollout.ports import Controlled, Supervisor
from engine.rollout.rollback import FLAT_WITHIN_S, STOPPED, T1, T2, Rollback, require_baseline
from engine.rollout.spec import RolloutSpec, matching

ANSWER_S = 2.0
"""How long one command to the service may take before it counts as hanging."""

LOCK_S = 5.0
"""How long somebody else may hold the journal's lock before we go on without the journal."""

DRILL_S = 30.0
POLL_S = 0.02

UNUSABLE = (JournalError, OSError, ValueError, KeyError, TypeError)
"""What a journal that cannot be read, understood or written raises."""


@dataclass(frozen=True)
class Controls:
    """One rollout as those see it who make it safe."""

    folder: Path
    spec: RolloutSpec
    orders: Orders
    service: Controlled
    supervisor: Supervisor
    rollback: Rollback
    clock: Clock


@dataclass(frozen=True)
class Lowered:
    """What was done, how it was done (`tier`) and how long that took since the order.

    `symbols` is None for all. `trouble` says why the journal does not know of it, if it does not.
    """

    tier: str
    seconds: float
    symbols: tuple[str, ...] | None = None
    trouble: str | None = None

    @property
    def is_running(self) -> bool:
        """Whether the service runs and showed that it obeys; else it was stopped."""
        return self.tier != STOPPED


def open_controls(folder: Path, clock: Clock | None = None) -> Controls:
    """Open a rollout's folder. Raises ConfigError if it has no readable `rollout.json`; the journal is not read."""
    try:
        spec = msgspec.json.decode((folder / "rollout.json").read_bytes(), type=RolloutSpec)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(
            f"{folder / 'rollout.json'}: cannot be read ({error}); graygate baseline needs neither it nor the journal"
        ) from error
    clock = clock or SystemClock()
    orders = Orders(FileJournal(folder / "journal.jsonl", spec.rollout, clock), spec.plan)
    service, supervisor = service_of(folder), supervisor_of(folder)
    rollback = Rollback(orders, service, supervisor, clock)
    return Controls(folder, spec, orders, service, supervisor, rollback, clock)


def service_of(folder: Path) -> ControlledService:
    """The control door of a rollout's service."""
    return ControlledService(folder / "service" / "control.sock", timeout_s=ANSWER_S)


def named(controls: Controls, entries: Sequence[str] | None) -> tuple[str, ...] | None:
    """Symbols that entries such as ETHUSDT name, None for all. Raises ConfigError for one that nothing matches."""
    if not entries:
        return None
    found = [symbol for entry in entries for symbol in matching(entry, controls.spec.all_symbols, "--symbol")]
    return tuple(dict.fromkeys(found))


def roll_back(controls: Controls, reason: str, actor: str, symbols: tuple[str, ...] | None = None) -> Lowered:
    """Put the baseline back, with the journal if it can be used and without it if not.

    Raises RefusedError where there is nothing to roll back, ServiceError if the service cannot even be stopped.
    """
    started_ns = controls.clock.mono_ns()
    try:
        if symbols is not None:
            controls.rollback.carry_out()  # an order that nobody finished would stand in the way
        with patience(LOCK_S):
            order = controls.orders.order_rollback(reason, actor, symbols=symbols)
        was_done = controls.rollback.carry_out() is None
        lowered = _outcome(controls, order)
    except UNUSABLE as error:
        tier = controls.rollback.force_baseline()
        return Lowered(tier, _seconds(controls, started_ns), None, f"{error}")
    if was_done and symbols is None and controls.supervisor.is_alive():
        tier = controls.rollback.force_baseline()
        if tier == T2:
            _note_switches(controls, actor)
        return Lowered(tier, _seconds(controls, started_ns))
    return lowered


def kill(controls: Controls, reason: str, actor: str, symbols: tuple[str, ...] | None = None) -> Lowered:
    """Stop trading at once: baseline, flat, no orders. Raises ServiceError if the service cannot even be stopped."""
    started_ns = controls.clock.mono_ns()
    try:
        with patience(LOCK_S):
            order = controls.orders.order_kill(reason, actor, symbols)
        controls.rollback.carry_out()
        return _outcome(controls, order)
    except UNUSABLE as error:
        tier = _force_kill(controls, symbols)
        return Lowered(tier, _seconds(controls, started_ns), symbols if tier == T1 else None, f"{error}")


def to_baseline(folder: Path, reason: str, actor: str) -> Lowered:
    """Start the service anew on the baseline, with the rollback switches, and read it back: the seed's last resort.

    The journal is told if it can be. Raises ServiceError if the service does not start or does not obey.
    """
    clock = SystemClock()
    started_ns, trouble, controls = clock.mono_ns(), None, None
    try:
        controls = open_controls(folder, clock)
        with patience(LOCK_S), suppress(RefusedError):  # promoted: the journal's outcome stays
            controls.orders.order_rollback(reason, actor)
    except (*UNUSABLE, ConfigError) as error:
        controls, trouble = None, f"{error}"
    supervisor_of(folder).restart(on_baseline=True)
    require_baseline(service_of(folder).status(), None)
    seconds = (clock.mono_ns() - started_ns) / NS_PER_S
    if controls is not None:
        try:
            _note_switches(controls, actor)
            controls.rollback.carry_out()
        except UNUSABLE as error:
            trouble = f"{error}"
    return Lowered(T2, seconds, None, trouble)


def drill(controls: Controls, actor: str) -> float:
    """Practise a rollback of what is live, through the guardian; return the seconds the way back took.

    Raises RefusedError where nothing is live, ServiceError if the drill fails or nobody carries it out.
    """
    with patience(LOCK_S):
        order = controls.orders.order_drill(actor)
    deadline_ns = controls.clock.mono_ns() + round(DRILL_S * NS_PER_S)
    while controls.clock.mono_ns() < deadline_ns:
        for record in controls.orders.journal.records()[order.seq :]:
            if record.type is RecordType.DRILLED and record.step == f"drill/{order.seq}":
                return float(record.body["seconds"])
            if record.type in (RecordType.ROLLBACK_ORDERED, RecordType.KILL_ORDERED):
                raise ServiceError(f"the drill was not finished, the rollout goes back: {record.body['reason']}")
        controls.clock.sleep(POLL_S)
    raise ServiceError(f"the guardian did not carry out the drill within {DRILL_S:.0f} s; see guardian.log")


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block once it has taken so long: a process that hangs with the lock stops nobody."""

    def give_up(*_: Any) -> None:
        raise TimeoutError(f"the journal's lock has been held by another process for {seconds:.0f} s")

    handler = signal.signal(signal.SIGALRM, give_up)
    before = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *before)
        signal.signal(signal.SIGALRM, handler)


def _outcome(controls: Controls, order: Record) -> Lowered:
    """What became of an order: its own outcome, or that of a later one for all symbols."""
    for record in controls.orders.journal.records()[order.seq :]:
        if record.type in (RecordType.ROLLED_BACK, RecordType.KILLED):
            symbols = record.body["symbols"]
            if symbols is None or record.step == f"{record.type.value}/{order.seq}":
                names = None if symbols is None else tuple(symbols)
                return Lowered(record.body["tier"], float(record.body["seconds"]), names)
    raise JournalError(f"record {order.seq} of the journal has no outcome")


def _note_switches(controls: Controls, actor: str) -> None:
    """The service takes no candidate until it is started without the switches: who re-arms has to know."""
    body = {"by": "command line", "on_baseline": True}
    controls.orders.journal.append(RecordType.SERVICE_STARTED, body, actor=actor)


def _force_kill(controls: Controls, symbols: tuple[str, ...] | None) -> str:
    try:
        epoch = int(controls.service.status()["epoch"])
        status = controls.service.kill(epoch, None if symbols is None else list(symbols))
        require_baseline(status, symbols)
        started_ns = controls.clock.mono_ns()
        while not controls.service.status()["flat"]:
            if _seconds(controls, started_ns) > FLAT_WITHIN_S:
                raise ServiceError("the service still holds positions after the kill")
            controls.clock.sleep(POLL_S)
        return T1
    except (ServiceError, RefusedError):
        controls.supervisor.stop()
        return STOPPED


def _seconds(controls: Controls, started_ns: int) -> float:
    return (controls.clock.mono_ns() - started_ns) / NS_PER_S
