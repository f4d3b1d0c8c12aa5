"""The service between its doors: what it does with windows, requests and a market that fails."""

import asyncio
import json
import random
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from engine.adapters import window_log
from engine.adapters.exporter import HostCollector
from engine.adapters.live.feed import LiveFeed
from engine.adapters.live.spec import LiveSpec, MarketSpec
from engine.adapters.runtime import Runtime
from engine.clock import FakeClock
from engine.errors import ConfigError, RefusedError
from engine.metrics import CRITICAL_ALERTS, FEED_EVENTS, GUARDRAIL_TRIPS, KILLED, LATCHED
from engine.serve import serve
from engine.strategy.events import Slice
from engine.strategy.fold import BASELINE, CANARY
from engine.strategy.host import Candidate, Deployment, Host
from engine.strategy.layout import CANARY_ARM
from engine.strategy.params import StrategyParams, fingerprint
from tests import making_service
from tests.making import T0, S, params_with
from tests.making_service import SYMBOLS, TTL_S, deployed, do, request

FIRST = params_with({"paper.fee_bps": 2.0})
SECOND = params_with({"paper.fee_bps": 3.0})


def runtime_in(folder: Path, clock: FakeClock | None = None) -> Runtime:
    """A runtime with a lease of epoch 1."""
    runtime = making_service.runtime_in(folder, clock)
    runtime.safety.renew(1)
    return runtime


def alerts_of(runtime: Runtime) -> dict[str, float]:
    """Alerts by kind, as they are exported."""
    families = {family.name: family for family in HostCollector(runtime.host, runtime.tally).collect()}
    return {sample.labels["kind"]: sample.value for sample in families[CRITICAL_ALERTS].samples}


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda arm: arm["window"]["signals"]["total"].fill(float("nan")), id="a sum of z-scores"),
        pytest.param(lambda arm: arm["window"]["fit"]["sxx"].fill(float("inf")), id="a sum of the fit"),
        pytest.param(lambda arm: arm["window"]["gross_bps"].fill(float("nan")), id="a paper result"),
    ],
)
def test_a_window_that_holds_no_number_is_an_alert_and_the_service_goes_on(
    tmp_path: Path, spoil: Callable[[Any], None]
) -> None:
    runtime = runtime_in(tmp_path)
    runtime.consume(Slice(T0, T0 + S // 2, {}))
    spoil(runtime.host.folding.memory.market["arms"][:1, CANARY_ARM])

    runtime.consume(Slice(T0 + S // 2, T0 + 2 * S, {}))

    rows = [json.loads(row) for row in runtime.log.after(0, 100)[1]]
    assert alerts_of(runtime)["unsound_output"] == 1
    assert [(row["symbol"], row["arm"]) for row in rows[:3]] == [
        (SYMBOLS[0], BASELINE), (SYMBOLS[0], BASELINE), (SYMBOLS[0], CANARY)
    ]  # fmt: skip
    assert len(rows) == 2 * 2 * len(SYMBOLS) - 1


def test_windows_that_nobody_collected_in_time_are_an_alert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_log, "KEPT", 4)
    runtime = runtime_in(tmp_path)

    runtime.consume(Slice(T0, T0 + S, {}))
    assert alerts_of(runtime)["windows_overwritten"] == 0

    runtime.consume(Slice(T0 + S, T0 + 2 * S, {}))
    assert alerts_of(runtime)["windows_overwritten"] == 4


def test_what_the_books_of_a_live_feed_went_through_is_exported(tmp_path: Path) -> None:
    runtime = runtime_in(tmp_path)
    spec = LiveSpec((MarketSpec("usdm", ("BTCUSDT",), depth="100ms"),))
    runtime.live = LiveFeed(spec, FakeClock(), random.Random(1))

    families = {family.name: family for family in HostCollector(runtime.host, runtime.tally).collect()}
    events = {sample.labels["event"] for sample in families[FEED_EVENTS].samples}

    assert {"depth_gaps", "depth_duplicates", "depth_dropped"} <= events


def test_what_tripped_and_is_killed_is_exported(tmp_path: Path) -> None:
    runtime = deployed(tmp_path, FakeClock(), live=SYMBOLS[:1])
    runtime.safety.loop_lag_ms = 1e9
    runtime.safety.check()
    do(runtime, "kill", epoch=2, symbols=[SYMBOLS[1]])

    families = {family.name: family.samples for family in HostCollector(runtime.host, runtime.tally).collect()}
    latched = {sample.labels["cause"]: sample.value for sample in families[LATCHED]}
    trips = {sample.labels["cause"]: sample.value for sample in families[GUARDRAIL_TRIPS]}
    assert {cause for cause, value in latched.items() if value} == {"loop_lag"}
    assert {cause for cause, value in trips.items() if value} == {"loop_lag"}
    assert [sample.value for sample in families[KILLED]] == [0.0, 1.0]


class Gate:
    """Holds up `Host.read` in whatever thread it runs, until opened."""

    def __init__(self, host: Host, monkeypatch: pytest.MonkeyPatch, *held: StrategyParams) -> None:
        self.reading = threading.Event()
        self._opened = threading.Event()
        self._held = {fingerprint(params) for params in held}
        self._read = host.read
        monkeypatch.setattr(Host, "read", lambda _, wanted: self._wait_and_read(wanted))

    def _wait_and_read(self, wanted: Deployment) -> Candidate:
        if wanted.fingerprint in self._held:
            self.reading.set()
            assert self._opened.wait(10)
        return self._read(wanted)

    async def reached(self) -> None:
        while not self.reading.is_set():  # noqa: ASYNC110 - the event is set by a thread
            await asyncio.sleep(0.001)

    def open(self) -> None:
        self._opened.set()


def during_reading(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], Awaitable[object]]
) -> dict[str, Any]:
    """Apply FIRST, and do something while it is read."""
    gate = Gate(runtime.host, monkeypatch, FIRST)

    async def story() -> dict[str, Any]:
        applying = asyncio.ensure_future(runtime.commands()["apply"](request(FIRST)))
        await gate.reached()
        try:
            await meanwhile()
        finally:
            gate.open()
        return await applying

    return asyncio.run(asyncio.wait_for(story(), 20))


def test_the_market_goes_on_while_parameters_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = runtime_in(tmp_path)

    async def fold() -> None:
        runtime.consume(Slice(T0, T0 + S, {}))

    status = during_reading(runtime, monkeypatch, fold)

    assert status["clock_ns"] == T0 + S
    assert set(status["live"].values()) == {fingerprint(FIRST)}
    rows = [json.loads(row) for row in runtime.log.after(0, 100)[1]]
    assert {row["live"] for row in rows if row["arm"] == CANARY} == {False}


def test_the_duration_of_an_update_includes_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    runtime = runtime_in(tmp_path, clock)

    async def time_passes() -> None:
        clock.sleep(0.25)

    during_reading(runtime, monkeypatch, time_passes)

    assert runtime.update_ms == [250.0]


def test_what_was_allowed_before_the_reading_has_to_be_allowed_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    runtime = runtime_in(tmp_path, clock)

    async def time_passes() -> None:
        clock.sleep(TTL_S + 1)

    with pytest.raises(RefusedError, match="no live lease of epoch 1"):
        during_reading(runtime, monkeypatch, time_passes)

    assert set(runtime.host.live_arms().values()) == {BASELINE}


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_roll_back_does_not_wait_and_is_not_undone_by_what_was_asked_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    runtime = runtime_in(tmp_path)

    with pytest.raises(RefusedError):
        during_reading(runtime, monkeypatch, lambda: runtime.commands()["roll_back"]({"epoch": epoch}))

    assert set(runtime.host.live_arms().values()) == {BASELINE}
    assert runtime.host.epoch == epoch


def test_of_two_applies_at_once_the_later_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = runtime_in(tmp_path)

    with pytest.raises(RefusedError, match="later request"):
        during_reading(runtime, monkeypatch, lambda: runtime.commands()["apply"](request(SECOND)))

    assert runtime.host.live_fingerprints() == dict.fromkeys(SYMBOLS, fingerprint(SECOND))


def test_a_refused_request_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = runtime_in(tmp_path)

    async def wrong_request() -> None:
        with pytest.raises(ConfigError):
            await runtime.commands()["apply"](request(SECOND) | {"fingerprint": "0" * 12})

    during_reading(runtime, monkeypatch, wrong_request)

    assert runtime.host.live_fingerprints() == dict.fromkeys(SYMBOLS, fingerprint(FIRST))
    assert alerts_of(runtime)["update_failed"] == 1


def serve_until(runtime: Runtime, folder: Path, market: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    async def story() -> None:
        stop = asyncio.Event()

        async def let_in() -> None:
            await market(stop)

        await serve(runtime, let_in(), folder, stop)

    asyncio.run(asyncio.wait_for(story(), 20))


@pytest.mark.parametrize(
    "is_stopping", [pytest.param(False, id="while it runs"), pytest.param(True, id="while it drains")]
)
def test_windows_are_written_down_when_the_market_fails(tmp_path: Path, is_stopping: bool) -> None:
    runtime = runtime_in(tmp_path)

    async def failing(stop: asyncio.Event) -> None:
        runtime.consume(Slice(T0, T0 + S, {}))
        if is_stopping:
            stop.set()
            await asyncio.sleep(0.01)
        raise RuntimeError("the feed broke")

    runtime.live = object()  # type: ignore[assignment]
    with pytest.raises(RuntimeError, match="the feed broke"):
        serve_until(runtime, tmp_path, failing)

    assert len((tmp_path / "undelivered.jsonl").read_text().splitlines()) == 2 * len(SYMBOLS)
    assert not (tmp_path / "control.sock").exists()


def test_windows_are_written_down_when_the_service_is_stopped(tmp_path: Path) -> None:
    runtime = runtime_in(tmp_path)

    async def played(stop: asyncio.Event) -> None:
        runtime.consume(Slice(T0, T0 + S, {}))
        stop.set()
        await asyncio.Event().wait()

    serve_until(runtime, tmp_path, played)

    assert len((tmp_path / "undelivered.jsonl").read_text().splitlines()) == 2 * len(SYMBOLS)


def test_without_a_guard_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = runtime_in(tmp_path)

    def broken() -> None:
        raise RuntimeError("the guard broke")

    monkeypatch.setattr(runtime.safety, "check", broken)

    async def played(_: asyncio.Event) -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="the guard broke"):
        serve_until(runtime, tmp_path, played)

    assert not (tmp_path / "control.sock").exists()
