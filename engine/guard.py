"""The guardian's process: `python -m engine.guard FOLDER`, one per rollout, until it is told to stop.

It loads no orchestrator, no numbers library and no web client, so that it is there at once.
Exit code 3: another guardian is at work or has taken over. 5: the journal cannot be trusted or written;
the service then falls back to the baseline by itself, once its lease has run out.
"""

import fcntl
import logging
import os
import signal
import sys
import threading
from pathlib import Path

import msgspec

from engine.adapters.control_client import ControlledService
from engine.adapters.journal_file import FileJournal
from engine.adapters.supervisor import FlowStandIn, supervisor_of
from engine.clock import NS_PER_S, Clock, SystemClock
from engine.errors import ConfigError, GraygateError, JournalError, RefusedError
from engine.rollout.guardian import TICK_S, Guardian
from engine.rollout.journal import Journal
from engine.rollout.orders import Orders
from engine.rollout.spec import RolloutSpec

logger = logging.getLogger("guardian")

ANSWER_S = 1.0
"""How long one command to the service may take."""

POLL_S = 0.05
"""How soon an order in the journal is seen between two ticks."""


def assemble(folder: Path, clock: Clock) -> tuple[Guardian, Journal]:
    """Build the guardian of a rollout's folder, over its journal. Raises ConfigError, JournalError."""
    try:
        spec = msgspec.json.decode((folder / "rollout.json").read_bytes(), type=RolloutSpec)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{folder}: not the folder of a rollout ({error})") from error
    journal = FileJournal(folder / "journal.jsonl", spec.rollout, clock)
    name = f"{os.getpid()}-{clock.mono_ns()}"
    service = ControlledService(folder / "service" / "control.sock", timeout_s=ANSWER_S)
    orders = Orders(journal, spec.plan)
    return Guardian(name, spec, orders, service, supervisor_of(folder), FlowStandIn(folder), clock), journal


def watch(guardian: Guardian, journal: Journal, stop: threading.Event, clock: Clock) -> None:
    """Tick each second, and at once when the journal has grown, until `stop`. Raises JournalError, Fenced."""
    try:
        guardian.start()
        while not stop.is_set():
            started_ns, seq = clock.mono_ns(), journal.head()[0]
            guardian.tick()
            while (clock.mono_ns() - started_ns) / NS_PER_S < TICK_S and journal.head()[0] == seq:
                if stop.wait(POLL_S):
                    return
    except JournalError:
        guardian.abandon()
        raise


def main() -> int:
    """Entry point."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    folder, stop, clock = Path(sys.argv[1]), threading.Event(), SystemClock()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        with (folder / "guardian.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RefusedError(f"another guardian watches {folder}") from None
            watch(*assemble(folder, clock), stop, clock)
    except (JournalError, OSError) as error:
        logger.critical("%s", error)
        return JournalError.exit_code
    except GraygateError as error:
        logger.error("%s", error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
