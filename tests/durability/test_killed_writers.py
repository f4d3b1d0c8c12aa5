"""Writers that are killed in the middle: what they had acknowledged is there, the others go on."""

import multiprocessing
import random
from multiprocessing.connection import Connection, wait
from pathlib import Path

from benchmarks.journal_fuzz import fuzz
from engine.adapters.journal_check import verify_folder
from engine.adapters.journal_file import FileJournal
from engine.clock import SystemClock
from engine.rollout.journal import RecordType

WRITERS = 4
RECORDS = 60


def write_and_tell(folder: Path, who: str, told: Connection) -> None:
    journal = FileJournal(folder / "journal.jsonl", "rollout-1", SystemClock(), segment_bytes=8000)
    for number in range(RECORDS):
        told.send((who, journal.append(RecordType.SLOT_OBSERVED, {"slot": number}, actor=who).digest()))
    told.close()


def test_nothing_that_was_acknowledged_is_lost_when_writers_are_killed(tmp_path: Path) -> None:
    fork, rng = multiprocessing.get_context("fork"), random.Random(5)
    writers, ears = {}, []
    for number in range(WRITERS):
        ours, theirs = fork.Pipe(duplex=False)
        writers[str(number)] = fork.Process(target=write_and_tell, args=(tmp_path, str(number), theirs))
        writers[str(number)].start()
        theirs.close()
        ears.append(ours)
    acknowledged = []
    victims = {str(number): rng.randint(1, RECORDS // 2) for number in range(WRITERS - 1)}
    while ears:
        for ear in wait(ears, 60):
            try:
                who, digest = ear.recv()
            except EOFError:
                ears.remove(ear)
                continue
            acknowledged.append(digest)
            victims[who] = victims.get(who, RECORDS + 1) - 1
            if victims[who] == 0:
                writers[who].kill()
    for writer in writers.values():
        writer.join(60)

    assert sorted(writer.exitcode for writer in writers.values()) == [-9, -9, -9, 0]
    found = [record.digest() for record in FileJournal(tmp_path / "journal.jsonl", "", SystemClock()).records()]
    assert set(acknowledged) <= set(found)
    assert len(acknowledged) <= len(found) <= len(acknowledged) + 3 * RECORDS
    FileJournal(tmp_path / "journal.jsonl", "", SystemClock()).append(RecordType.FLOW_STARTED, {})
    assert verify_folder(tmp_path).unacknowledged_bytes == 0


def test_a_few_hundred_random_changes_are_all_found() -> None:
    found = fuzz(count=400, seed=7)

    assert found["missed"] == 0
    assert found["mutations"] == found["found"] == 400
    assert len(found["by_kind"]) == 8
