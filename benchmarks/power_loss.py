"""Cut the power after every operation of the journal on its disk, and start again.

    python -m benchmarks.power_loss --count 500

A trace is a dozen records by three writers with small segments, in some traces with a failing sync, a short write or a
writer that is killed. Each is run again for every one of its operations on a modelled disk
(`engine/adapters/disk_model.py`) that loses its power before that operation: what was not synced is kept, dropped, torn
or reordered. Every second time the power goes again while the journal recovers. A break is an acknowledged record that
is gone, a chain that does not verify, more records than were ever written, or a journal that takes no further record.
Prints one JSON line.
"""

import argparse
import errno
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.adapters.disk_model import FakeDisk
from engine.adapters.journal_check import verify_folder
from engine.adapters.journal_file import FileJournal
from engine.clock import FakeClock
from engine.errors import GraygateError, JournalError
from engine.rollout.journal import RecordType

FOLDER = Path("/rollout")
WRITERS = 3


class PowerLoss(Exception):
    """The machine is off."""


class Killed(Exception):
    """A writer is gone; the machine goes on."""


@dataclass
class Trace:
    """What is written, and which operations go wrong: `failing` with EIO, `short` in part, `fatal` to their writer."""

    sizes: list[int]
    segment_bytes: int
    failing: set[int] = field(default_factory=set)
    short: set[int] = field(default_factory=set)
    fatal: set[int] = field(default_factory=set)


@dataclass
class Run:
    """What came of a run: digests that were acknowledged, and how many records were not."""

    acknowledged: list[str] = field(default_factory=list)
    refused: int = 0


def make_trace(rng: random.Random) -> Trace:
    """A random trace."""
    sizes = [rng.choice((0, 10, 400, 3000)) for _ in range(rng.randint(4, 12))]
    trace = Trace(sizes, rng.choice((300, 1500, 1 << 20)))
    if rng.random() < 0.3:
        trace.failing = {rng.randint(5, 100)}
    elif rng.random() < 0.3:
        trace.short = {rng.randint(5, 100) for _ in range(8)}
    elif rng.random() < 0.5:
        trace.fatal = {rng.randint(5, 100) for _ in range(2)}
    return trace


def write(disk: FakeDisk, trace: Trace, run: Run) -> None:
    """Run a trace to its end, or to the end of the power."""
    journals = [open_journal(disk, trace) for _ in range(WRITERS)]
    for number, size in enumerate(trace.sizes):
        body: dict[str, Any] = {"number": number, "filling": "x" * size}
        try:
            record = journals[number % WRITERS].append(RecordType.ANOMALY_NOTED, body)
        except (JournalError, Killed):
            run.refused += 1
            journals[number % WRITERS] = open_journal(disk, trace)
        else:
            run.acknowledged.append(record.digest())


def open_journal(disk: FakeDisk, trace: Trace) -> FileJournal:
    """A process that opens the journal."""
    return FileJournal(FOLDER / "journal.jsonl", "rollout", FakeClock(), disk=disk, segment_bytes=trace.segment_bytes)


def cut_power(disk: FakeDisk, trace: Trace, at: int | None) -> None:
    """Arrange the faults of a trace and the end of the power before operation `at`."""

    def fault(name: str, path: Path) -> int | None:
        if disk.operations == at:
            raise PowerLoss
        if disk.operations in trace.fatal:
            raise Killed
        if disk.operations in trace.failing and name in ("append", "overwrite", "sync", "sync_folder", "truncate"):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return 20 if disk.operations in trace.short and name == "append" else None

    disk.fault = fault


def length(trace: Trace) -> int:
    """How many operations a trace takes."""
    disk = FakeDisk()
    cut_power(disk, trace, None)
    write(disk, trace, Run())
    return disk.operations


def crash(trace: Trace, at: int, rng: random.Random) -> str | None:
    """Cut the power of one run before one operation; return what is wrong afterwards, None if nothing is."""
    disk, run = FakeDisk(), Run()
    cut_power(disk, trace, at)
    try:
        write(disk, trace, run)
    except PowerLoss:
        run.refused += 1
    disk.crash(rng)
    disk.fault = None
    try:
        if rng.random() < 0.5:
            _recover_in_the_dark(disk, trace, run, rng)
        return _check(disk, trace, run)
    except GraygateError as error:
        return str(error)


def _recover_in_the_dark(disk: FakeDisk, trace: Trace, run: Run, rng: random.Random) -> None:
    cut_power(disk, Trace([], 0), disk.operations + rng.randint(1, 25))
    try:
        for _ in range(2):
            run.acknowledged.append(open_journal(disk, trace).append(RecordType.FLOW_STARTED, {}).digest())
    except PowerLoss:
        run.refused += 1
    disk.crash(rng)
    disk.fault = None


def _check(disk: FakeDisk, trace: Trace, run: Run) -> str | None:
    found = [record.digest() for record in open_journal(disk, trace).records()]
    rest = iter(found)
    lost = [digest for digest in run.acknowledged if digest not in rest]
    if lost:
        return f"{len(lost)} acknowledged records are gone"
    journal = open_journal(disk, trace)
    run.acknowledged += [journal.append(RecordType.FLOW_STARTED, {}).digest() for _ in range(2)]
    checked = verify_folder(FOLDER, disk)
    if not 0 <= checked.records - len(run.acknowledged) <= run.refused:
        return f"{checked.records} records, {len(run.acknowledged)} acknowledged, {run.refused} not"
    return None if checked.head == run.acknowledged[-1] else "the last record is not the last"


def breaks(traces: int, seed: int) -> Iterator[tuple[int, str | None]]:
    """Every prefix of every trace: its number of operations and what is wrong."""
    rng = random.Random(seed)
    for _ in range(traces):
        trace = make_trace(rng)
        for at in range(1, length(trace) + 2):
            yield at, crash(trace, at, rng)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500, help="traces")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    found = list(breaks(arguments.count, arguments.seed))
    wrong = [(at, what) for at, what in found if what is not None]
    for at, what in wrong[:10]:
        print(f"power lost before operation {at}: {what}", file=sys.stderr)
    print(json.dumps({"traces": arguments.count, "prefixes": len(found), "breaks": len(wrong), "seed": arguments.seed}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
