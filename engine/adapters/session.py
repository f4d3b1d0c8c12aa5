"""A rollout on one machine: service, guardian, Prefect server and flow, started and stopped together."""

import sys
from pathlib import Path

from engine.adapters.control_client import ControlClient
from engine.adapters.journal_file import FileJournal
from engine.adapters.prefect_server import start_prefect, wait_for_prefect
from engine.adapters.processes import pid_of, start, start_service, stop
from engine.adapters.supervisor import PAUSED
from engine.clock import SystemClock
from engine.errors import GraygateError
from engine.rollout.journal import RecordType


class Session:
    """The four processes of one rollout. What already runs is used as it is."""

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
            self.journal().append(RecordType.SERVICE_STARTED, {"pid": pid_of("service", self.folder / "service")})
        if not self.flow_is_alive():
            (self.folder / PAUSED).touch()  # nobody stands in for a flow that is about to come
        if pid_of("guardian", self.folder) is None:
            start("guardian", [sys.executable, "-m", "engine.guard", str(self.folder.resolve())], self.folder)
        wait_for_prefect(self._prefect_home, environment)
        (self.folder / PAUSED).unlink(missing_ok=True)
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

    def journal(self) -> FileJournal:
        """The journal, for one who follows its epoch."""
        return FileJournal(self.folder / "journal.jsonl", self.folder.name, SystemClock())

    def stop(self, *, keep_service: bool) -> None:
        """Stop the processes; with `keep_service` not the service and its guardian. Whatever was written stays."""
        if not keep_service:
            stop("guardian", self.folder)  # first: it would start what is stopped under its eyes
        (self.folder / PAUSED).touch()
        stop("flow", self.folder)
        if not keep_service:
            stop("service", self.folder / "service")
        stop("prefect", self._prefect_home)
