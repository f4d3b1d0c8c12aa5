"""The chain of records: each names the one before, and a line that was changed is named."""

import json
from typing import Any

import pytest

from engine.errors import JournalError
from engine.rollout.journal import FIELDS, GENESIS, Chain, Record, RecordType, parse_line


def record(chain: Chain, **changes: Any) -> Record:
    plain = {
        "seq": len(chain.records) + 1, "prev": chain.digest, "ts": "2025-01-01T00:00:00.000+00:00", "boot_id": "boot",
        "mono_ns": 1, "epoch": 0, "rollout": "r", "stage": None, "step": "", "actor": "auto:rollout",
        "type": RecordType.HELD, "body": {},
    }  # fmt: skip
    return Record(**{**plain, **changes})


def three() -> tuple[list[bytes], Chain]:
    lines, chain = [], Chain()
    for epoch in (1, 3, 2):
        lines.append(record(chain, epoch=epoch).to_line())
        chain = chain.extended(lines[-1:], "f")
    return lines, chain


def test_each_record_names_the_one_before() -> None:
    lines, chain = three()

    assert [found.seq for found in chain.records] == [1, 2, 3]
    assert [found.prev for found in chain.records] == [GENESIS, *(found.digest() for found in chain.records[:2])]
    assert chain.digest == chain.records[2].digest()
    assert [chain.digest_at(seq) for seq in range(4)] == [GENESIS, *(found.digest() for found in chain.records)]
    assert Chain().extended(lines, "f") == chain


def test_the_highest_epoch_is_that_of_any_record() -> None:
    assert three()[1].epoch == 3


@pytest.mark.parametrize(
    ("order", "says"),
    [
        pytest.param([1, 2], "f line 7: record 2 does not follow record 0", id="first removed"),
        pytest.param([0, 2], "f line 8: record 3 does not follow record 1", id="middle removed"),
        pytest.param([0, 2, 1], "f line 8: record 3 does not follow record 1", id="swapped"),
        pytest.param([0, 0, 1], "f line 8: record 1 does not follow record 1", id="doubled"),
    ],
)
def test_records_out_of_order_are_named(order: list[int], says: str) -> None:
    lines, _ = three()

    with pytest.raises(JournalError, match=says):
        Chain().extended([lines[i] for i in order], "f", first_line=7)


GOOD = {name: getattr(record(Chain()), name) for name in FIELDS}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        pytest.param(b"", "not a record", id="an empty line"),
        pytest.param(b"[1]", "not a record", id="a list"),
        pytest.param(b"7", "not a record", id="a number"),
        pytest.param(b"[" * 100_000, "not a record", id="a hundred thousand brackets"),
        pytest.param(b"\xff\xfe{}", "not a record", id="not UTF-8"),
        pytest.param(json.dumps({**GOOD, "type": "Sold"}).encode(), "Sold", id="an unknown type"),
        pytest.param(json.dumps({**GOOD, "type": []}).encode(), "not a record", id="a list for a type"),
        pytest.param(json.dumps({**GOOD, "more": 1}).encode(), "fields are", id="a field too many"),
        pytest.param(json.dumps({**GOOD, "epoch": "3"}).encode(), "whole numbers", id="an epoch in quotes"),
        pytest.param(json.dumps({**GOOD, "seq": True}).encode(), "whole numbers", id="a truth for a number"),
        pytest.param(json.dumps({**GOOD, "body": {"x": float("nan")}}).encode(), "JSON compliant", id="NaN"),
        pytest.param(json.dumps(GOOD).encode(), "not in canonical form", id="spaces"),
    ],
)
def test_what_is_not_a_record_is_refused_in_words(line: bytes, says: str) -> None:
    with pytest.raises(JournalError, match=rf"^here: .*{says}"):
        parse_line(line, "here")
