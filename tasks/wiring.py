"""The composition root: a rollout's folder becomes the objects its steps work with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from engine.adapters.journal_file import FileJournal
from engine.adapters.parquet_store import ParquetStore
from engine.adapters.service_client import ServiceClient
from engine.adapters.supervisor import supervisor_of
from engine.clock import NS_PER_S, Clock, SystemClock
from engine.errors import ConfigError
from engine.rollout.journal import RecordType
from engine.rollout.orders import Orders
from engine.rollout.plan import Plan, Stage
from engine.rollout.ports import Service
from engine.rollout.rollback import Rollback
from engine.rollout.spec import RolloutSpec
from engine.rollout.state import RolloutState, StageState, step_of


@dataclass(frozen=True)
class Wiring:
    """One rollout with its adapters, as one attempt at it works with them."""

    folder: Path
    spec: RolloutSpec
    journal: FileJournal
    orders: Orders
    rollback: Rollback
    windows: ParquetStore
    ops: ParquetStore
    service: Service
    clock: Clock
    attempt: int

    @property
    def plan(self) -> Plan:
        return self.spec.plan

    def state(self) -> RolloutState:
        """The present, from the journal."""
        return self.orders.state()

    def slot_end_ns(self, stage: Stage, stage_state: StageState, slot: int) -> int:
        """Market time at which a slot of a started stage ends."""
        assert stage_state.start_ns is not None
        return stage_state.start_ns + slot * stage.cadence_s * NS_PER_S

    def step(self, stage: str, *parts: object) -> str:
        """Idempotence key of a step of this attempt at a stage."""
        return step_of(self.attempt, stage, *parts)

    def note(self, stage: str, *parts: object, type_: RecordType, body: dict[str, Any]) -> None:
        """Write down once what a step of this attempt did. Raises RefusedError once the attempt is over."""
        self.orders.note(self.attempt, stage, parts, type_, body)

    def ops_lines(self, stage: str, slot: int) -> Path:
        """Where a slot's scrapes wait until they are committed."""
        return self.folder / "service" / f"ops-{self.step(stage)}-{slot}.jsonl"


def open_rollout(folder: Path, clock: Clock | None = None) -> Wiring:
    """Open the rollout in a folder. Raises ConfigError if there is none, JournalError if its journal is damaged."""
    path = folder / "rollout.json"
    try:
        spec = msgspec.json.decode(path.read_bytes(), type=RolloutSpec)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); is {folder} the folder of a rollout?") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
    clock = clock or SystemClock()
    journal = FileJournal(folder / "journal.jsonl", spec.rollout, clock)
    orders = Orders(journal, spec.plan)
    service = ServiceClient(folder / "service", clock)
    return Wiring(
        folder=folder,
        spec=spec,
        journal=journal,
        orders=orders,
        rollback=Rollback(orders, service, supervisor_of(folder), clock),
        windows=ParquetStore(folder / "windows", "window_start_ns"),
        ops=ParquetStore(folder / "ops", "at_ns"),
        service=service,
        clock=clock,
        attempt=orders.state().attempt,
    )
