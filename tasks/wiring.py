"""The composition root: a rollout's folder becomes the objects its steps work with."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine.adapters.journal_file import FileJournal
from engine.adapters.parquet_store import ParquetStore
from engine.adapters.service_client import ServiceClient
from engine.clock import NS_PER_S, Clock, SystemClock
from engine.errors import ConfigError
from engine.rollout.plan import Plan, Stage
from engine.rollout.ports import Service
from engine.rollout.spec import RolloutSpec
from engine.rollout.state import RolloutState, StageState, fold


@dataclass(frozen=True)
class Wiring:
    """One rollout with its adapters."""

    folder: Path
    spec: RolloutSpec
    journal: FileJournal
    windows: ParquetStore
    ops: ParquetStore
    service: Service
    clock: Clock

    @property
    def plan(self) -> Plan:
        return self.spec.plan

    def state(self) -> RolloutState:
        """The present, from the journal."""
        return fold(self.journal.records())

    def slot_end_ns(self, stage: Stage, stage_state: StageState, slot: int) -> int:
        """Market time at which a slot of a started stage ends."""
        assert stage_state.start_ns is not None
        return stage_state.start_ns + slot * stage.cadence_s * NS_PER_S

    def ops_lines(self, stage: str, slot: int) -> Path:
        """Where a slot's scrapes wait until they are committed."""
        return self.folder / "service" / f"ops-{stage}-{slot}.jsonl"


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
    journal.epoch = fold(journal.records()).epoch
    return Wiring(
        folder=folder,
        spec=spec,
        journal=journal,
        windows=ParquetStore(folder / "windows", "window_start_ns"),
        ops=ParquetStore(folder / "ops", "at_ns"),
        service=ServiceClient(folder / "service", clock),
        clock=clock,
    )
