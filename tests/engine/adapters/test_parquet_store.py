"""The evidence store: committed once, invisible until then, and refused once damaged."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.adapters.parquet_store import ParquetStore
from engine.errors import EvidenceError
from tests.making import T0, S

DAY_S = 86_400


def store_in(folder: Path) -> ParquetStore:
    return ParquetStore(folder / "windows", "window_start_ns")


def rows(first: int, count: int = 6, symbol: str = "ETHUSDT.x") -> list[dict[str, Any]]:
    return [
        {
            "symbol": symbol,
            "window_start_ns": T0 + number * S,
            "fingerprint": None if number % 3 == 2 else "c" * 12,
            "pnl_bps": number / 7,
            "z_ofi_hist": [number, 2, 3],
        }
        for number in range(first, first + count)
    ]


def filled(folder: Path) -> ParquetStore:
    store = store_in(folder)
    for number in (1, 2, 3):
        store.commit(f"10pct/{number}/collect", rows(10 * number), {"after": number})
    return store


def test_what_was_committed_is_read_in_order(tmp_path: Path) -> None:
    table = filled(tmp_path).read()

    starts = [(start - T0) // S for start in table["window_start_ns"].tolist()]
    assert starts == [*range(10, 16), *range(20, 26), *range(30, 36)]
    assert table["fingerprint"].tolist()[:3] == ["c" * 12, None, "c" * 12]
    assert table["pnl_bps"][0] == 10 / 7
    assert table["z_ofi_hist"][0].tolist() == [10, 2, 3]


def test_a_step_is_committed_once(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    first = store.commit("step", rows(0), {"after": 6})

    again = store.commit("step", rows(100), {"after": 99})

    assert again == first
    assert len(store.read()["symbol"]) == 6
    assert len(store.commits()) == 1


def test_rows_are_read_up_to_and_including_a_step(tmp_path: Path) -> None:
    store = filled(tmp_path)

    assert len(store.read("10pct/2/collect")["symbol"]) == 12
    assert len(store.read(None)["symbol"]) == 18
    assert store.digest("10pct/2/collect") != store.digest()
    assert [commit.cursor["after"] for commit in store.up_to("10pct/2/collect")] == [1, 2]


def test_a_store_without_commits_is_empty(tmp_path: Path) -> None:
    assert store_in(tmp_path).read() == {}
    assert store_in(tmp_path).commits() == []


def test_a_step_without_rows_is_committed_all_the_same(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit("empty", [], {"after": 0})

    assert [commit.step for commit in store.commits()] == ["empty"]
    assert store.read() == {}


def test_days_and_symbols_get_files_of_their_own(tmp_path: Path) -> None:
    both = rows(0) + rows(DAY_S) + rows(0, symbol="BTCUSDT.x")
    commit = store_in(tmp_path).commit("step", both, {})

    assert [(name, count) for name, _, count in commit.files] == [
        ("date=2025-01-01/symbol=BTCUSDT.x/part-000001.parquet", 6),
        ("date=2025-01-01/symbol=ETHUSDT.x/part-000001.parquet", 6),
        ("date=2025-01-02/symbol=ETHUSDT.x/part-000001.parquet", 6),
    ]


def test_files_that_no_manifest_names_are_invisible(tmp_path: Path) -> None:
    store = filled(tmp_path)
    before = (store.read()["window_start_ns"].tolist(), store.digest())
    data = next((tmp_path / "windows").rglob("part-000001.parquet"))
    shutil.copy(data, data.with_name("part-000009.parquet"))
    data.with_name(".part-000004.parquet.77").write_bytes(b"half")
    (tmp_path / "windows" / "_manifest" / "000004.draft-77").write_text("{")

    assert (store.read()["window_start_ns"].tolist(), store.digest()) == before


def test_a_step_that_was_interrupted_before_its_manifest_is_written_again(tmp_path: Path) -> None:
    store = filled(tmp_path)
    (tmp_path / "windows" / "_manifest" / "000003.json").unlink()
    interrupted = len(store.read()["symbol"])

    store.commit("10pct/3/collect", rows(30), {"after": 3})

    assert (interrupted, len(store.read()["symbol"])) == (12, 18)


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    stores = [filled(tmp_path / name) for name in ("a", "b")]

    files = [sorted(path for path in (tmp_path / name).rglob("*.*") if path.is_file()) for name in ("a", "b")]
    assert len(files[0]) == 6
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
    assert stores[0].digest() == stores[1].digest()


def data_file(folder: Path) -> Path:
    return next((folder / "windows").rglob("part-000002.parquet"))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, share: float) -> None:
    store = filled(tmp_path)
    path = data_file(tmp_path)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])

    with pytest.raises(EvidenceError, match=re.escape(str(path))):
        store.read()
    assert len(store.read("10pct/1/collect")["symbol"]) == 6


def test_any_flipped_byte_is_refused_by_name(tmp_path: Path) -> None:
    store = filled(tmp_path)
    path = data_file(tmp_path)
    raw = path.read_bytes()

    for position in range(0, len(raw), max(1, len(raw) // 60)):
        flipped = bytearray(raw)
        flipped[position] ^= 1 << (position % 8)
        path.write_bytes(bytes(flipped))

        with pytest.raises(EvidenceError, match=re.escape(str(path))):
            store.read()


def test_a_deleted_file_is_refused_by_name(tmp_path: Path) -> None:
    store = filled(tmp_path)
    path = data_file(tmp_path)
    path.unlink()

    with pytest.raises(EvidenceError, match=re.escape(str(path))):
        store.read()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"step": "x"}', '{"step": "x", "files": [1], "cursor": {}}'])
def test_a_manifest_that_cannot_be_read_is_refused_by_name(tmp_path: Path, text: str) -> None:
    store = filled(tmp_path)
    path = tmp_path / "windows" / "_manifest" / "000002.json"
    path.write_text(text)

    with pytest.raises(EvidenceError, match=re.escape(str(path))):
        store.read()


def test_a_manifest_missing_between_others_is_refused(tmp_path: Path) -> None:
    store = filled(tmp_path)
    (tmp_path / "windows" / "_manifest" / "000002.json").unlink()

    with pytest.raises(EvidenceError, match="000002"):
        store.read()
