"""The two-phase update: every symbol changes or none does."""

from dataclasses import replace
from typing import Any

import pytest

from engine.errors import ConfigError, RefusedError
from engine.strategy.arm import Arm
from engine.strategy.events import EventBatch, Instrument, Slice
from engine.strategy.host import Deployment, Host
from engine.strategy.ofi import FlowRing
from engine.strategy.params import StrategyParams, canonical_json, digest, fingerprint
from engine.strategy.pipeline import BASELINE, CANARY
from tests.making import MEASUREMENT, T0, S, params_with

SYMBOLS = ("BTCUSDT.binance_usdm", "ETHUSDT.binance_usdm", "SOLUSDT.binance_usdm")
STABLE = params_with({"mode": "quiet"})
FIRST = params_with()
SECOND = params_with({"mode": "active", "paper.fee_bps": 3.0, "active.risk.position_limit": 0.9})


def deployment(params: StrategyParams, epoch: int = 1, live: tuple[str, ...] = SYMBOLS[:1]) -> Deployment:
    return Deployment("rollout", "10pct", epoch, fingerprint(params), canonical_json(params), live)


def host_on_first() -> Host:
    """A host whose canaries run FIRST, live on one symbol, in epoch 3, inside a window."""
    host = Host([Instrument(symbol) for symbol in SYMBOLS], MEASUREMENT, STABLE)
    host.consume(Slice(T0 + S + S // 2, {}))
    host.apply(deployment(FIRST, epoch=3))
    return host


def seen(host: Host) -> dict[str, Any]:
    """Everything a deployment may change."""
    arms = {
        (symbol, name): (arm.params, arm.fingerprint, arm.modes.mode, arm.last_transition, dict(arm.transition_counts))
        for symbol, pipeline in host.pipelines.items()
        for name, arm in pipeline.arms.items()
    }
    told = (host.live_arms(), host.live_fingerprints(), host.rollout_id, host.stage, host.epoch)
    return {"arms": arms, "told": told}


class StubbornArm(Arm):
    """An arm that refuses parameters: before it took them, after, or whatever it is given."""

    def __init__(self, when: str) -> None:
        super().__init__(CANARY, FlowRing(), MEASUREMENT, STABLE)
        super().change_params(FIRST, fingerprint(FIRST), T0)
        self._when = when

    def change_params(self, params: StrategyParams, params_fingerprint: str, at_ns: int) -> None:
        is_new = params_fingerprint not in (fingerprint(FIRST), fingerprint(STABLE))
        if self._when == "always" or (self._when == "before" and is_new):
            raise RuntimeError("out of memory")
        super().change_params(params, params_fingerprint, at_ns)
        if self._when == "after" and is_new:
            raise RuntimeError("out of memory")


def test_apply_gives_every_canary_the_candidate_and_makes_it_live_where_wanted() -> None:
    host = host_on_first()

    host.apply(deployment(SECOND, epoch=4, live=SYMBOLS[:2]))

    assert {pipeline.arms[CANARY].fingerprint for pipeline in host.pipelines.values()} == {fingerprint(SECOND)}
    assert {pipeline.arms[BASELINE].fingerprint for pipeline in host.pipelines.values()} == {fingerprint(STABLE)}
    assert host.live_arms() == dict(zip(SYMBOLS, (CANARY, CANARY, BASELINE), strict=True))
    assert host.epoch == 4


def broken(old: str, new: str) -> Deployment:
    """A deployment of text that was fingerprinted as it is, but that no parameters can be built from."""
    text = canonical_json(SECOND)
    assert old in text
    changed = text.replace(old, new, 1)
    return replace(deployment(SECOND, epoch=4), params=changed, fingerprint=digest(changed)[:12])


WINDOWS = '"windows":["09:00-12:00"]'
GOOD = deployment(SECOND, epoch=4)


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        pytest.param(replace(GOOD, fingerprint="0" * 12), ConfigError, id="a wrong fingerprint"),
        pytest.param(broken(WINDOWS, '"windows":["25:00-26:00"]'), ConfigError, id="a bad schedule window"),
        pytest.param(
            broken(WINDOWS, '"windows":["09:00+01:00-12:00"]'),
            ConfigError,
            id="a schedule window with a zone of its own",
        ),
        pytest.param(broken('"holidays":[]', '"holidays":["Christmas"]'), ConfigError, id="a bad holiday"),
        pytest.param(replace(GOOD, live=("DOGEUSDT.binance_usdm",)), RefusedError, id="an unknown symbol"),
        pytest.param(replace(GOOD, epoch=2), RefusedError, id="an older epoch"),
        pytest.param(replace(GOOD, params="{}"), ConfigError, id="no parameters"),
        pytest.param(replace(GOOD, params=GOOD.params[:-9]), ConfigError, id="half the parameters"),
    ],
)
def test_a_refused_deployment_leaves_every_symbol_as_it_was(wanted: Deployment, error: type[Exception]) -> None:
    host = host_on_first()
    before = seen(host)

    with pytest.raises(error):
        host.apply(wanted)

    assert seen(host) == before


@pytest.mark.parametrize("symbol", SYMBOLS)
@pytest.mark.parametrize("when", ["before", "after", "always"])
def test_a_symbol_that_fails_while_publishing_leaves_every_symbol_on_the_old_parameters(symbol: str, when: str) -> None:
    host = host_on_first()
    host.pipelines[symbol].arms[CANARY] = StubbornArm(when)

    with pytest.raises(RuntimeError, match="out of memory"):
        host.apply(deployment(SECOND, epoch=4, live=SYMBOLS))

    canaries = [pipeline.arms[CANARY] for pipeline in host.pipelines.values()]
    assert [arm.fingerprint for arm in canaries] == [fingerprint(FIRST)] * 3
    assert [arm.params for arm in canaries] == [FIRST] * 3
    assert host.live_arms() == dict(zip(SYMBOLS, (CANARY, BASELINE, BASELINE), strict=True))
    assert host.epoch == 3


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_failed_publication_leaves_modes_and_their_history_as_they_were(symbol: str) -> None:
    host = host_on_first()
    host.pipelines[symbol].arms[CANARY] = StubbornArm("before")
    before = seen(host)

    with pytest.raises(RuntimeError):
        host.apply(deployment(SECOND, epoch=4, live=SYMBOLS))

    assert seen(host) == before


def test_the_same_epoch_may_apply_again() -> None:
    host = host_on_first()

    host.apply(deployment(SECOND, epoch=3))

    assert host.live_fingerprints()[SYMBOLS[0]] == fingerprint(SECOND)


def test_applying_twice_changes_nothing_more() -> None:
    host = host_on_first()
    before = seen(host)

    host.apply(deployment(FIRST, epoch=3))

    assert seen(host) == before


def test_roll_back_makes_the_baseline_live_everywhere() -> None:
    host = host_on_first()
    host.apply(deployment(SECOND, epoch=4, live=SYMBOLS))

    host.roll_back(None, epoch=5)

    assert set(host.live_arms().values()) == {BASELINE}
    assert set(host.live_fingerprints().values()) == {fingerprint(STABLE)}
    assert host.epoch == 5


def test_roll_back_of_one_symbol_leaves_the_others_live() -> None:
    host = host_on_first()
    host.apply(deployment(SECOND, epoch=4, live=SYMBOLS))

    host.roll_back([SYMBOLS[1]], epoch=4)

    assert host.live_arms() == dict(zip(SYMBOLS, (CANARY, BASELINE, CANARY), strict=True))


@pytest.mark.parametrize(
    ("symbols", "epoch"),
    [
        pytest.param(None, 2, id="an older epoch"),
        pytest.param(["DOGEUSDT.binance_usdm"], 4, id="an unknown symbol"),
        pytest.param([SYMBOLS[0], "DOGEUSDT.binance_usdm"], 4, id="a known and an unknown symbol"),
    ],
)
def test_a_refused_roll_back_changes_nothing(symbols: list[str] | None, epoch: int) -> None:
    host = host_on_first()
    before = seen(host)

    with pytest.raises(RefusedError):
        host.roll_back(symbols, epoch)

    assert seen(host) == before


def test_the_canary_goes_on_in_shadow_after_a_roll_back() -> None:
    host = host_on_first()
    host.roll_back(None, epoch=3)

    records = host.consume(Slice(T0 + 3 * S, {SYMBOLS[0]: EventBatch([])}))

    assert {record.arm for record in records} == {BASELINE, CANARY}


def test_live_fingerprints_are_read_from_the_arms() -> None:
    host = host_on_first()
    other = params_with({"paper.fee_bps": 9.0})

    host.pipelines[SYMBOLS[0]].arms[CANARY].change_params(other, fingerprint(other), T0 + 2 * S)

    assert host.live_fingerprints()[SYMBOLS[0]] == fingerprint(other)
    assert host.live_fingerprints()[SYMBOLS[1]] == fingerprint(STABLE)
