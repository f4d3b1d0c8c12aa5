"""The door of the start scripts: what must have happened before a stage starts, and one rollout at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config.loader import CONFIG_DIR
from engine.adapters.journal_file import FileJournal
from engine.clock import FakeClock
from engine.errors import ConfigError, GraygateError, RefusedError
from engine.rollout.approvals import ApprovalRequest, submit
from engine.rollout.decision import Answer
from engine.rollout.journal import RecordType
from engine.rollout.orders import Orders
from tasks.planning import plan_rollout
from tasks.start_commands import require_advanced
from tests.making_processes import Rehearsal, planned
from tests.making_rollout import SPEC

DIGEST = "d" * 64


@pytest.fixture
def orders(tmp_path: Path) -> Orders:
    journal = FileJournal(tmp_path / "journal.jsonl", SPEC.rollout, FakeClock())
    journal.append(RecordType.ROLLOUT_PLANNED, {"kind": "production"})
    return Orders(journal, SPEC.plan)


def planned_only(_: Orders) -> None:
    pass


def deployed(orders: Orders) -> None:
    orders.order_deploy("10pct", SPEC.symbols["10pct"])
    body = {"symbols": list(SPEC.symbols["10pct"]), "fingerprint": "f", "boot": "b", "alerts": 0}
    orders.journal.append(RecordType.DEPLOYED, body, stage="10pct")
    orders.start_clock("10pct", {"start_ns": 0, "end_ns": 1})


def judged(verdict: str) -> Callable[[Orders], None]:
    def judge(orders: Orders) -> None:
        deployed(orders)
        orders.journal.append(RecordType.SLOT_OBSERVED, {"slot": 18, "is_last": True}, stage="10pct")
        body = {"slot": 18, "verdict": verdict, "evidence_digest": DIGEST}
        orders.journal.append(RecordType.VERDICT_REACHED, body, stage="10pct")

    return judge


def approved(orders: Orders) -> None:
    judged("PASS")(orders)
    orders.journal.append(RecordType.APPROVAL_REQUESTED, {"evidence_digest": DIGEST}, stage="10pct")
    submit(orders.journal, ApprovalRequest("10pct", DIGEST, Answer.ADVANCE, "Ada", "", "cli"))


def advanced(orders: Orders) -> None:
    approved(orders)
    orders.advance("10pct", "Ada")


def held(orders: Orders) -> None:
    orders.hold("holiday", "Ada")


def being_rolled_back(orders: Orders) -> None:
    deployed(orders)
    orders.order_rollback("why", "Ada")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        pytest.param(planned_only, "10pct is not deployed yet", id="nothing done"),
        pytest.param(deployed, "10pct is still observed", id="under observation"),
        pytest.param(judged("INCONCLUSIVE"), "last verdict is INCONCLUSIVE", id="not proven"),
        pytest.param(judged("PASS"), "nobody has approved it", id="not approved"),
        pytest.param(held, r"is over \(held: holiday\)", id="held"),
        pytest.param(being_rolled_back, "is being rolled back", id="being rolled back"),
    ],
)
def test_the_second_stage_is_refused_with_what_is_missing(
    orders: Orders, given: Callable[[Orders], None], says: str
) -> None:
    given(orders)

    with pytest.raises(RefusedError, match=says):
        require_advanced(orders.state(), "10pct", "50pct")


@pytest.mark.parametrize("given", [approved, advanced])
def test_the_second_stage_starts_after_a_persons_yes(orders: Orders, given: Callable[[Orders], None]) -> None:
    given(orders)

    require_advanced(orders.state(), "10pct", "50pct")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        pytest.param(["20pct"], 2, "STAGE must be one of", id="an unknown stage"),
        pytest.param(["50pct"], 3, "10pct is not deployed yet", id="the second stage first"),
        pytest.param(["100pct", "--rollout", "x"], 3, "no rollout 'x'", id="an unknown rollout"),
        pytest.param(["10pct"], 3, "is not over", id="another rollout"),
        pytest.param(["10pct", "--feed", "x"], 3, "runs on a live market", id="production on a recording"),
        pytest.param(["10pct", "--approve", "auto"], 3, "automatic approval", id="production without a person"),
        pytest.param(["10pct", "--market", "x.yaml"], 2, "x.yaml", id="a market file that is not there"),
    ],
)
def test_a_start_that_cannot_be_is_refused_in_one_sentence(
    rehearsal: Rehearsal, arguments: list[str], code: int, says: str
) -> None:
    done = rehearsal.run("start", *arguments)

    assert (done.code, done.lines) == (code, [])
    assert says in done.said
    assert len(list((rehearsal.home / "rollouts").iterdir())) == 1


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    return planned(tmp_path_factory.mktemp("start") / "home")


def plan_production(home: Path, **changes: Any) -> Path:
    ordinary: dict[str, Any] = {
        "home": home, "plan_path": CONFIG_DIR / "rollout.yaml", "candidate": None, "feed": None, "seed": 1,
        "speed": None, "approve": "ask", "language": "en", "environment": {}, "requester": "Rita",
        "may_be_live": True, "clock": FakeClock(),
    }  # fmt: skip
    return plan_rollout(**{**ordinary, **changes})


def test_production_is_planned_on_the_live_market_of_its_file(tmp_path: Path) -> None:
    folder = plan_production(tmp_path)

    rehearsal = Rehearsal(tmp_path, folder)
    spec = rehearsal.spec
    assert (spec.plan.kind, spec.approve, spec.is_simulated, spec.seed) == ("production", "ask", False, None)
    assert spec.symbols["10pct"] == ("ETHUSDT.binance_usdm",)
    assert 3 <= len(spec.symbols["50pct"]) <= 5
    assert spec.symbols["100pct"] == spec.all_symbols
    assert spec.market_start_ns > FakeClock().now_ns() + spec.plan.warmup_s * 10**9
    service = (folder / "service" / "service.json").read_text()
    assert '"feed":null' in service
    assert '"market":"usdm"' in service


MARKETS = {
    "an unknown market": ("market: xetra\nsymbols: [ETHUSDT]", "market must be one of"),
    "an unknown word": ("market: usdm\nsymbols: [ETHUSDT]\nspeed: 1", "speed"),
    "no symbols": ("market: usdm", "symbols"),
    "a symbol twice": ("market: usdm\nsymbols: [ETHUSDT, ETHUSDT]", "listed twice"),
    "too few symbols": ("market: usdm\nsymbols: [ETHUSDT, BTCUSDT]", "needs at least 3 symbols"),
}


@pytest.mark.parametrize(("text", "says"), MARKETS.values(), ids=MARKETS)
def test_a_wrong_market_is_named_and_nothing_is_written(tmp_path: Path, text: str, says: str) -> None:
    market = tmp_path / "market.yaml"
    market.write_text(text)

    with pytest.raises(ConfigError, match=says):
        plan_production(tmp_path / "home", market=market)

    assert not (tmp_path / "home").exists()


def started(folder: Path) -> None:
    FileJournal(folder / "journal.jsonl", folder.name, FakeClock()).append(RecordType.SERVICE_STARTED, {"pid": 1})


def ended(folder: Path) -> None:
    started(folder)
    FileJournal(folder / "journal.jsonl", folder.name, FakeClock()).append(RecordType.HELD, {"reason": "done"})


def damaged(folder: Path) -> None:
    path = folder / "journal.jsonl"
    path.write_bytes(path.read_bytes().replace(b"Rita", b"Rito"))


@pytest.mark.parametrize(
    ("before", "error"),
    [
        pytest.param(started, RefusedError, id="one that runs"),
        pytest.param(lambda folder: None, RefusedError, id="one that is planned"),
        pytest.param(damaged, GraygateError, id="one whose journal nobody can read"),
        pytest.param(ended, None, id="one that is over"),
    ],
)
def test_one_rollout_at_a_time(
    tmp_path: Path, before: Callable[[Path], None], error: type[GraygateError] | None
) -> None:
    first = planned(tmp_path).folder
    before(first)

    if error is None:
        assert plan_production(tmp_path).is_dir()
        return
    with pytest.raises(error, match=first.name):
        plan_production(tmp_path)
