"""A rehearsal on one machine: the service, the Prefect server and the flow, started and stopped together."""

import sys
from pathlib import Path

from engine.adapters.control import ControlClient
from engine.adapters.journal_file import FileJournal
from engine.adapters.processes import pid_of, start, start_prefect, start_service, stop, wait_for_prefect
from engine.clock import SystemClock
from engine.errors import GraygateError
from engine.rollout.journal import RecordType
from engine.rollout.state import RolloutState, fold


class Session:
    """The three processes of one rollout. What already runs is used as it is."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.folder = folder
        self._prefect_home = home / "prefect"
        self.prefect_ui = ""

    def start(self) -> None:
        """Start whatever is not running. Raises ServiceError, GraygateError."""
        environment = start_prefect(self._prefect_home)
        self.prefect_ui = environment["PREFECT_API_URL"].removesuffix("/api")
        if pid_of("service", self.folder / "service") is None:
            start_service(self.folder)
            self._journal().append(RecordType.SERVICE_STARTED, {"pid": pid_of("service", self.folder / "service")})
        wait_for_prefect(self._prefect_home, environment)
        if not self.flow_is_alive():
            command = [sys.executable, "-m", "flows.rollout", str(self.folder.resolve())]
            start("flow", command, self.folder, environment)

    def flow_is_alive(self) -> bool:
        """Whether the flow process of this rollout runs."""
        return pid_of("flow", self.folder) is not None

    def clock_ns(self) -> int | None:
        """The service's market clock, None while it does not answer."""
        try:
            return int(
                ControlClient(self.folder / "service" / "control.sock", timeout_s=1.0).call("status")["clock_ns"]
            )
        except (GraygateError, OSError):
            return None

    def state(self) -> RolloutState:
        """The present, from the journal."""
        return fold(self._journal().records())

    def journal(self) -> FileJournal:
        """The journal at the current epoch."""
        journal = self._journal()
        journal.epoch = fold(journal.records()).epoch
        return journal

    def stop(self, *, keep_service: bool) -> None:
        """Stop the processes; the evidence, the journal and Prefect's history stay."""
        stop("flow", self.folder)
        if not keep_service:
            stop("service", self.folder / "service")
        stop("prefect", self._prefect_home)

    def _journal(self) -> FileJournal:
        state_name = self.folder.name
        return FileJournal(self.folder / "journal.jsonl", state_name, SystemClock())
