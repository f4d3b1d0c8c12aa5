"""Epochs: who follows takes the journal's, who was overtaken is refused."""

from pathlib import Path

import pytest

from engine.adapters.disk_model import FakeDisk
from engine.adapters.journal_file import FileJournal
from engine.clock import FakeClock
from engine.errors import RefusedError
from engine.rollout.journal import Record, RecordType


def on(disk: FakeDisk, epoch: int = 0) -> FileJournal:
    return FileJournal(Path("/rollout/journal.jsonl"), "rollout-1", FakeClock(), epoch, disk=disk)


def note(journal: FileJournal) -> Record:
    return journal.append(RecordType.ANOMALY_NOTED, {})


def test_who_follows_writes_in_the_epoch_of_the_journal() -> None:
    disk = FakeDisk()
    follower = on(disk)
    assert note(follower).epoch == 0

    on(disk, epoch=7).append(RecordType.HELD, {})

    assert note(follower).epoch == 7
    assert follower.epoch == 0


def test_who_was_overtaken_is_refused_and_writes_nothing() -> None:
    disk = FakeDisk()
    old = on(disk, epoch=3)
    note(old)
    new = on(disk, epoch=3)
    assert new.append(RecordType.GUARDIAN_STARTED, {}, epoch_up=True).epoch == new.epoch == 4

    with pytest.raises(RefusedError, match="epoch 3 is older than 4: another process took over"):
        note(old)

    assert len(new.records()) == 2
    assert note(new).epoch == 4


def test_a_follower_that_opens_an_epoch_goes_on_following() -> None:
    disk = FakeDisk()
    follower = on(disk)
    assert follower.append(RecordType.ROLLBACK_ORDERED, {}, epoch_up=True).epoch == 1
    on(disk).append(RecordType.GUARDIAN_STARTED, {}, epoch_up=True)

    assert note(follower).epoch == 2


def test_an_epoch_that_was_refused_is_not_taken() -> None:
    disk = FakeDisk()
    journal = on(disk, epoch=3)

    def refuse(records: object) -> None:
        raise RefusedError("no")

    with pytest.raises(RefusedError, match="no"):
        journal.append_if(refuse, RecordType.REARMED, {}, epoch_up=True)

    assert journal.epoch == 3
    assert note(journal).epoch == 3
