"""The order of system calls in which a record of the journal becomes durable, as strace sees it.

    python -m benchmarks.journal_order FOLDER RECORDS

is the process that is traced: it writes records and acknowledges each on its standard output.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from engine.adapters.journal_file import FileJournal
from engine.clock import SystemClock
from engine.rollout.journal import RecordType

CALLS = "write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,sync_file_range,rename,renameat,renameat2"
SEGMENT_BYTES = 4000

_CALL = re.compile(r"^\d+ +(\w+)\((?:\d+<([^>]*)>)?(.*)= (-?\d+)")


def trace_order(records: int) -> tuple[int, list[str]] | str:
    """Trace a process that writes records: how many it acknowledged and what was out of order, or why not."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    with tempfile.TemporaryDirectory() as home:
        folder, log = Path(home, "rollout"), Path(home, "calls")
        folder.mkdir()
        writer = [sys.executable, "-m", "benchmarks.journal_order", str(folder), str(records)]
        strace = ["strace", "-f", "-y", "-qq", "-s", "32", "-e", f"trace={CALLS}", "-o", str(log)]
        subprocess.run([*strace, *writer], check=True, stdout=subprocess.PIPE)
        return check_order(list(events(log.read_text(), folder.resolve())))


def events(log: str, folder: Path) -> Iterator[str]:
    """What happened to the journal, in order, a word each."""
    words = {
        ("write", folder / "journal.jsonl"): "record",
        ("fsync", folder / "journal.jsonl"): "record_synced",
        ("pwrite64", folder / "journal.head"): "head",
        ("fsync", folder / "journal.head"): "head_synced",
        ("fsync", folder): "folder_synced",
    }
    for line in log.splitlines():
        found = _CALL.match(line)
        if found is None or int(found[4]) < 0:
            continue
        call, path, rest = found[1].replace("fdatasync", "fsync"), found[2] or "", found[3]
        if call.startswith("rename"):
            yield "renamed"
        elif call == "write" and '"acknowledged ' in rest:
            yield "acknowledged"
        elif path.startswith(str(folder)):
            yield words.get((call, Path(path)), f"{call} of {Path(path).name}")


def check_order(happened: list[str]) -> tuple[int, list[str]]:
    """Number of acknowledged records, and a sentence for each whose order is wrong."""
    wrong: list[str] = []
    count, since, is_new = 0, [], True
    for word in happened:
        if word != "acknowledged":
            since.append(word)
            continue
        count += 1
        is_new = is_new or "renamed" in since
        steps = ["record", "record_synced", *(["folder_synced"] if is_new else []), "head", "head_synced"]
        if "renamed" in since:
            steps = ["renamed", "folder_synced", *steps]
        if not _in_order(steps, since):
            wrong.append(f"record {count} was acknowledged after {since}, must be {steps}")
        since, is_new = [], False
    return count, wrong


def _in_order(steps: list[str], happened: list[str]) -> bool:
    """Whether the steps happened in this order, and the writes among them once."""
    rest = iter(happened)
    once = all(happened.count(word) == 1 for word in ("record", "head"))
    return once and all(step in rest for step in steps)


def main() -> int:
    """Write records and acknowledge each."""
    folder, records = Path(sys.argv[1]), int(sys.argv[2])
    journal = FileJournal(folder / "journal.jsonl", "traced", SystemClock(), segment_bytes=SEGMENT_BYTES)
    for number in range(1, records + 1):
        journal.append(RecordType.SLOT_OBSERVED, {"slot": number, "is_last": False})
        os.write(1, f"acknowledged {number}\n".encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
