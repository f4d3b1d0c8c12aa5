"""Planning refuses before anything is written."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from config.loader import CONFIG_DIR
from engine.adapters.journal_file import FileJournal
from engine.clock import FakeClock
from engine.errors import ConfigError, FeedError, GraygateError, RefusedError
from engine.rollout.journal import RecordType
from tasks.planning import plan_rollout
from tests.making import T0, S


def recording(folder: Path, seconds: int) -> Path:
    """A recorded market of two instruments."""
    folder.mkdir()
    ts = [T0 + n * S // 2 for n in range(seconds * 2) for _ in range(2)]
    size = len(ts)
    both = {"exchange": ["x_spot"] * size, "symbol": ["ETHUSDT", "BTCUSDT"] * (size // 2), "ts_ns": ts, "recv_ns": ts}
    fills = {"trade_id": [str(n) for n in range(size)], "price": [100.0] * size, "qty": [1.0] * size}
    quotes = {"bid_px": [99.0] * size, "bid_qty": [1.0] * size, "ask_px": [101.0] * size, "ask_qty": [1.0] * size}
    pq.write_table(pa.table({**both, **fills, "aggressor": ["buy"] * size}), folder / "trades.parquet")
    pq.write_table(pa.table({**both, **quotes}), folder / "l1.parquet")
    return folder


def candidate_for(folder: Path, symbol: str, name: str = "candidate.yaml") -> Path:
    path = folder / name
    path.write_text(f"extends: {CONFIG_DIR / 'baseline.yaml'}\nsymbols: [{symbol}]\n")
    return path


def plan(tmp_path: Path, **changes: Any) -> Path:
    """Plan a rehearsal on 400 seconds of a recording, but for what is changed."""
    ordinary: dict[str, Any] = {
        "home": tmp_path / "home",
        "plan_path": CONFIG_DIR / "rehearsal.yaml",
        "candidate": candidate_for(tmp_path, "ETHUSDT"),
        "feed": None,
        "seed": 1,
        "speed": None,
        "approve": "auto",
        "language": "en",
        "environment": {},
        "requester": "Li Wei",
    }
    return plan_rollout(**{**ordinary, **changes})


def test_a_sound_rehearsal_is_planned_into_a_folder_of_its_own(tmp_path: Path) -> None:
    folder = plan(tmp_path, feed=recording(tmp_path / "feed", 400))

    records = FileJournal(folder / "journal.jsonl", folder.name, FakeClock()).records()
    assert [(record.type, record.actor) for record in records] == [(RecordType.ROLLOUT_PLANNED, "Li Wei")]
    assert (folder / "rollout.json").is_file()
    assert (folder / "service" / "service.json").is_file()


def test_the_same_rehearsal_has_the_same_name_and_the_earlier_one_is_kept(tmp_path: Path) -> None:
    feed = recording(tmp_path / "feed", 400)
    first = plan(tmp_path, feed=feed)

    second = plan(tmp_path, feed=feed)

    assert second == first
    assert (tmp_path / "home" / "archive" / f"{first.name}.1" / "journal.jsonl").is_file()


def no_feed(tmp_path: Path) -> dict[str, Any]:
    return {"feed": tmp_path / "nowhere"}


def half_a_feed(tmp_path: Path) -> dict[str, Any]:
    folder = recording(tmp_path / "feed", 400)
    (folder / "l1.parquet").unlink()
    return {"feed": folder}


def short_feed(tmp_path: Path) -> dict[str, Any]:
    return {"feed": recording(tmp_path / "feed", 100)}


def feed_that_is_a_second_short(tmp_path: Path) -> dict[str, Any]:
    return {"feed": recording(tmp_path / "feed", 14 + 114 + 102 + 108)}


def unknown_symbol(tmp_path: Path) -> dict[str, Any]:
    return {"feed": recording(tmp_path / "feed", 400), "candidate": candidate_for(tmp_path, "DOGEUSDT", "doge.yaml")}


def broken_candidate(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "broken.yaml"
    path.write_text(candidate_for(tmp_path, "ETHUSDT").read_text() + "strategy: {mode: fast}\n")
    return {"feed": recording(tmp_path / "feed", 400), "candidate": path}


def automatic_production(tmp_path: Path) -> dict[str, Any]:
    return {"feed": recording(tmp_path / "feed", 400), "plan_path": CONFIG_DIR / "rollout.yaml", "approve": "auto"}


def odd_approval(tmp_path: Path) -> dict[str, Any]:
    return {"approve": "always"}


def negative_speed(tmp_path: Path) -> dict[str, Any]:
    return {"feed": recording(tmp_path / "feed", 400), "speed": -1.0}


def speed_that_is_no_number(tmp_path: Path) -> dict[str, Any]:
    return {"feed": recording(tmp_path / "feed", 400), "speed": float("nan")}


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        pytest.param(no_feed, FeedError, "nowhere: there is no such folder", id="a feed that is not there"),
        pytest.param(half_a_feed, FeedError, "l1.parquet: there is no such file", id="a feed without quotes"),
        pytest.param(short_feed, FeedError, "the stages need 324 s", id="a feed too short"),
        pytest.param(feed_that_is_a_second_short, FeedError, "the stages need 324 s", id="a feed just too short"),
        pytest.param(unknown_symbol, ConfigError, "doge.yaml: symbols: 'DOGEUSDT'", id="an unknown symbol"),
        pytest.param(broken_candidate, ConfigError, r"broken.yaml: strategy\.mode: ", id="a broken candidate"),
        pytest.param(automatic_production, RefusedError, "production", id="automatic approval of production"),
        pytest.param(odd_approval, ConfigError, "--approve must be one of", id="an unknown way to approve"),
        pytest.param(negative_speed, ConfigError, "--speed must be", id="a negative speed"),
        pytest.param(speed_that_is_no_number, ConfigError, "--speed must be", id="a speed that is no number"),
    ],
)
def test_a_refused_plan_writes_nothing(tmp_path: Path, given: Any, error: type[GraygateError], says: str) -> None:
    changes = given(tmp_path)

    with pytest.raises(error, match=says):
        plan(tmp_path, **changes)

    assert not (tmp_path / "home").exists()
