"""Recorded depth: in sequence, or refused with the file's name."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.adapters.depth_recording import RecordedDepth, read_depth
from engine.errors import FeedError
from engine.strategy.layout import DEPTH, GAP
from tests.making import MS, T0

SPOT, USDM = "BTCUSDT.binance_spot", "BTCUSDT.binance_usdm"


def rows(*messages: dict[str, Any], **same: Any) -> dict[str, list[Any]]:
    """Columns of `l2_updates.parquet`: messages with `ids` (U, u, pu), `bids` and `asks`, one every 100 ms."""
    table: dict[str, list[Any]] = {}
    for number, message in enumerate(messages):
        first, last, previous = (*message["ids"], None)[:3]
        for side in ("bids", "asks"):
            for price, quantity in message.get(side, []):
                row = {
                    "exchange": "binance_spot", "symbol": "BTCUSDT", "ts_ns": T0 + 100 * MS * number,
                    "recv_ns": T0 + 100 * MS * number, "first_update_id": first, "last_update_id": last,
                    "prev_update_id": previous, "side": side[:-1], "px": price, "qty": quantity, "is_snapshot": False,
                }  # fmt: skip
                known = {name: message[name] for name in message.keys() - {"ids", "bids", "asks"}}
                for column, value in (row | same | known).items():
                    table.setdefault(column, []).append(value)
    return table


SNAPSHOT = {"ids": (5, 5), "is_snapshot": True, "ts_ns": None, "bids": [(99.0, 1.0)], "asks": [(101.0, 1.0)]}
NEXT = {"ids": (6, 7), "bids": [(99.0, 2.0), (98.0, 1.0)], "asks": [(101.0, 0.0)]}
AFTER = {"ids": (8, 8), "bids": [(97.0, 2.0)]}


def recording(folder: Path, columns: dict[str, list[Any]], snapshots: dict[str, list[Any]] | None = None) -> Path:
    schema = {"ts_ns": pa.int64(), "prev_update_id": pa.int64()}
    pq.write_table(
        pa.table({name: pa.array(values, schema.get(name)) for name, values in columns.items()}),
        folder / "l2_updates.parquet",
    )
    if snapshots is not None:
        pq.write_table(pa.table(snapshots), folder / "l2_snapshots.parquet")
    return folder


def told(depth: RecordedDepth) -> list[tuple[int, int, list[list[float]]]]:
    """Kind, id and levels of each event."""
    found = []
    for event in depth.events:
        first, count = int(event["a"]), int(event["b"] + event["c"])
        found.append((int(event["kind"]), int(event["id"]), depth.levels[first : first + count].tolist()))
    return found


def test_a_folder_without_depth_has_none(tmp_path: Path) -> None:
    assert read_depth(tmp_path) == {}


def test_a_small_recording_in_sequence(tmp_path: Path) -> None:
    depth = read_depth(recording(tmp_path, rows(SNAPSHOT, NEXT, NEXT, AFTER)))[SPOT]

    assert told(depth) == [
        (DEPTH, 5, [[99.0, 1.0], [101.0, 1.0]]),
        (DEPTH, 7, [[99.0, 2.0], [98.0, 1.0], [101.0, 0.0]]),
        (DEPTH, 8, [[97.0, 2.0]]),
    ]
    assert depth.events[["b", "c", "d"]].tolist() == [(1, 1, 1), (2, 1, 0), (1, 0, 0)]
    assert depth.events["arrival_ns"].tolist() == [T0, T0 + 100 * MS, T0 + 300 * MS]
    assert depth.duplicates == 1


def test_bids_come_first_however_the_rows_were_written(tmp_path: Path) -> None:
    columns = rows(SNAPSHOT, NEXT)
    order = [1, 0, 4, 2, 3]
    depth = read_depth(recording(tmp_path, {name: [values[n] for n in order] for name, values in columns.items()}))

    assert told(depth[SPOT])[1] == (DEPTH, 7, [[99.0, 2.0], [98.0, 1.0], [101.0, 0.0]])


def test_messages_of_one_instant_stay_apart(tmp_path: Path) -> None:
    depth = read_depth(recording(tmp_path, rows(SNAPSHOT, NEXT, AFTER, AFTER | {"ids": (9, 9)}, recv_ns=T0)))[SPOT]

    assert [id_ for _, id_, _ in told(depth)] == [5, 7, 8, 9]


def test_a_hole_in_the_ids_is_a_gap_until_the_next_snapshot(tmp_path: Path) -> None:
    columns = rows(SNAPSHOT, NEXT, AFTER | {"ids": (9, 9)}, SNAPSHOT | {"ids": (9, 9)}, AFTER | {"ids": (10, 10)})

    depth = read_depth(recording(tmp_path, columns))[SPOT]

    assert [(kind, id_) for kind, id_, _ in told(depth)] == [(DEPTH, 5), (DEPTH, 7), (GAP, -1), (DEPTH, 9), (DEPTH, 10)]
    gap = depth.events[2]
    assert (gap["arrival_ns"], gap["ts_ns"]) == (T0 + 200 * MS, T0 + 200 * MS)
    assert [gap[field] for field in "abcd"] == [0, 0, 0, 0]


def test_the_start_of_another_capture_is_a_disconnect(tmp_path: Path) -> None:
    one, two = {"capture": "one"}, {"capture": "two"}
    columns = rows(
        SNAPSHOT | one, NEXT | one, AFTER | two, SNAPSHOT | {"ids": (8, 8)} | two, AFTER | {"ids": (9, 9)} | two
    )

    depth = read_depth(recording(tmp_path, columns))[SPOT]

    assert [(kind, id_) for kind, id_, _ in told(depth)] == [(DEPTH, 5), (DEPTH, 7), (GAP, -1), (DEPTH, 8), (DEPTH, 9)]


def test_futures_follow_their_predecessor(tmp_path: Path) -> None:
    columns = rows(
        SNAPSHOT,
        NEXT | {"ids": (4, 7, 3)},
        AFTER | {"ids": (9, 9, 7)},
        AFTER | {"ids": (10, 10, 8)},
        exchange="binance_usdm",
    )

    depth = read_depth(recording(tmp_path, columns))[USDM]

    assert [(kind, id_) for kind, id_, _ in told(depth)] == [(DEPTH, 5), (DEPTH, 7), (DEPTH, 9), (GAP, -1)]


def test_arrival_is_the_recorders_clock_moved_to_the_venues(tmp_path: Path) -> None:
    behind = 1270 * MS
    messages = [
        message | {"recv_ns": T0 + 100 * MS * number - behind, "tx_ts_ns": None if number == 1 else T0 + number}
        for number, message in enumerate([SNAPSHOT | {"ids": (7, 7)}, NEXT, AFTER])
    ]
    messages[0]["tx_ts_ns"] = None

    depth = read_depth(recording(tmp_path, rows(*messages)))[SPOT]

    assert depth.events["arrival_ns"].tolist() == [T0, T0 + 200 * MS]
    assert depth.events["ts_ns"].tolist() == [T0, T0 + 2]  # a snapshot's arrival, then matching time


def test_what_waited_for_the_snapshot_arrives_with_it(tmp_path: Path) -> None:
    depth = read_depth(recording(tmp_path, rows(NEXT, AFTER, SNAPSHOT)))[SPOT]

    assert [id_ for _, id_, _ in told(depth)] == [5, 7, 8]
    assert depth.events["arrival_ns"].tolist() == [T0 + 200 * MS] * 3
    assert depth.events["ts_ns"].tolist() == [T0 + 200 * MS, T0, T0 + 100 * MS]


def test_a_snapshot_that_only_the_snapshot_table_has_is_used(tmp_path: Path) -> None:
    snapshots = {
        "exchange": ["binance_spot"], "symbol": ["BTCUSDT"], "recv_ns": [T0 - MS], "last_update_id": [5],
        "bid_px": [[99.0]], "bid_qty": [[1.0]], "ask_px": [[101.0]], "ask_qty": [[1.0]],
    }  # fmt: skip

    alone = read_depth(recording(tmp_path, rows(NEXT), snapshots))[SPOT]
    again = read_depth(recording(tmp_path, rows(SNAPSHOT, NEXT), snapshots))[SPOT]

    assert told(alone) == told(again)
    assert told(alone)[0] == (DEPTH, 5, [[99.0, 1.0], [101.0, 1.0]])
    assert len(again.levels) == 5


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        pytest.param({"px": None}, "column px has 3 missing values", id="a price is missing"),
        pytest.param({"px": "dear"}, "column px is not double", id="a price is text"),
        pytest.param({"last_update_id": None}, "column last_update_id has 3 missing values", id="no id"),
        pytest.param({"side": "buy"}, "column side holds something other than bid and ask", id="a side is unknown"),
        pytest.param({"exchange": "binance_options"}, "only markets spot, usdm, coinm", id="no rule"),
        pytest.param({"symbol": "../../etc/passwd"}, "only markets", id="not a symbol"),
    ],
)
def test_an_unusable_table_is_refused_with_its_reason(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    columns = rows(NEXT)
    recording(tmp_path, columns | {name: [value] * len(columns["px"]) for name, value in changes.items()})

    with pytest.raises(FeedError, match=sentence) as refusal:
        read_depth(tmp_path)

    assert str(tmp_path) in str(refusal.value)


def test_a_missing_column_or_a_truncated_table_is_refused(tmp_path: Path) -> None:
    columns = rows(NEXT)
    del columns["is_snapshot"]
    with pytest.raises(FeedError, match=r"l2_updates.parquet: column is_snapshot is missing"):
        read_depth(recording(tmp_path, columns))

    path = recording(tmp_path, rows(NEXT)) / "l2_updates.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FeedError, match=r"l2_updates.parquet: not a readable Parquet file"):
        read_depth(tmp_path)


def diff(first: int, last: int, **more: Any) -> str:
    body = {"e": "depthUpdate", "E": 1000, "s": "BTCUSDT", "U": first, "u": last, "b": [["99.0", "2"]], "a": [], **more}
    return json.dumps({"stream": "btcusdt@depth@100ms", "data": body}, separators=(",", ":"))


REST = '{"lastUpdateId":5,"bids":[["99.00","1"]],"asks":[["101","0.5"]]}'


def capture(folder: Path, *bodies: str) -> Path:
    path = folder / "spot__btcusdt_20240808.gz"
    path.write_bytes(gzip.compress("".join(f"{n + 1} {body}\n" for n, body in enumerate(bodies)).encode()))
    return path


def test_a_small_capture_in_sequence(tmp_path: Path) -> None:
    trade = '{"stream":"btcusdt@trade","data":{"e":"trade"}}'
    capture(tmp_path, diff(4, 5), trade, REST, diff(6, 7, T=999), diff(9, 9))

    depth = read_depth(tmp_path)[SPOT]

    assert told(depth) == [(DEPTH, 5, [[99.0, 1.0], [101.0, 0.5]]), (DEPTH, 7, [[99.0, 2.0]]), (GAP, -1, [])]
    assert depth.events["ts_ns"][1] == 999 * MS
    assert depth.dropped == 2  # in the snapshot already; still waiting at the end


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(diff(4, 5)[:-9], id="cut off"),
        pytest.param(diff(4, 5, b=[["dear", "1"]]), id="a price is not a number"),
        pytest.param(diff(4, 5, b=[["1"]]), id="a level without quantity"),
        pytest.param(diff(4, -5), id="a negative id"),
        pytest.param(diff(4, 2**80), id="an id that does not fit"),
        pytest.param(diff(4, 5, E=2**60), id="a time that does not fit"),
        pytest.param('{"lastUpdateId":"new"}', id="a snapshot without an id"),
    ],
)
def test_a_line_that_is_not_depth_is_refused_by_number(tmp_path: Path, body: str) -> None:
    capture(tmp_path, REST, body)

    with pytest.raises(FeedError, match=r"spot__btcusdt_20240808.gz: line 2 is not a depth message"):
        read_depth(tmp_path)


def test_a_truncated_capture_is_refused(tmp_path: Path) -> None:
    path = capture(tmp_path, REST, diff(6, 7))
    path.write_bytes(path.read_bytes()[:-12])

    with pytest.raises(FeedError, match=r"spot__btcusdt_20240808.gz: the file is truncated or damaged"):
        read_depth(tmp_path)
