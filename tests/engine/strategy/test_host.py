"""The two-phase update: every symbol changes or none does."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from engine import metrics
from engine.adapters.exporter import HostCollector, Tally
from engine.errors import ConfigError, RefusedError
from engine.strategy import host as host_module
from engine.strategy.checks import MODULES, Module
from engine.strategy.events import BookTop, EventBatch, Instrument, Slice
from engine.strategy.fold import ARMS, BASELINE, CANARY
from engine.strategy.host import Deployment, Host
from engine.strategy.layout import ACTIVE, BASELINE_ARM, CANARY_ARM, MANUAL, QUIET
from engine.strategy.params import StrategyParams, canonical_json, digest, fingerprint
from engine.strategy.table import prepare
from tests.making import MEASUREMENT, MS, T0, WIDE_CAPS, S, params_with

SYMBOLS = ("BTCUSDT.binance_usdm", "ETHUSDT.binance_usdm", "SOLUSDT.binance_usdm")
MANY = tuple(f"S{number:03d}USDT.simulated" for number in range(500))
STABLE = params_with({"mode": "quiet"})
FIRST = params_with()
SECOND = params_with({"mode": "active", "paper.fee_bps": 3.0, "active.risk.position_limit": 0.9})
NOW = T0 + S + S // 2


def deployment(params: StrategyParams, epoch: int = 1, live: tuple[str, ...] = SYMBOLS[:1]) -> Deployment:
    return Deployment("rollout", "10pct", epoch, fingerprint(params), canonical_json(params), live)


def host_on_first(symbols: Sequence[str] = SYMBOLS) -> Host:
    """A host whose canaries run FIRST, live on the first symbol, in epoch 3, inside a window."""
    host = Host([Instrument(symbol) for symbol in symbols], MEASUREMENT, STABLE, WIDE_CAPS)
    host.consume(Slice(T0, NOW, {}))
    host.apply(deployment(FIRST, epoch=3, live=(symbols[0],)))
    return host


def seen(host: Host) -> dict[str, Any]:
    """Everything a deployment may change: all memory of all arms, what is published, and what is told."""
    snapshot = host.folding.snapshot
    return {
        "memory": hashlib.sha256(host.folding.memory.market.data).hexdigest(),
        "snapshot": (id(snapshot), snapshot.epoch, snapshot.fingerprints, snapshot.params, snapshot.table.tobytes()),
        "told": (host.live_arms(), host.live_fingerprints(), host.stage, host.epoch),
    }


def modes(host: Host, arm: int) -> set[int]:
    return set(host.folding.memory.market["arms"][:, arm]["mode"].tolist())


def test_apply_gives_every_canary_the_candidate_and_makes_it_live_where_wanted() -> None:
    host = host_on_first()

    host.apply(deployment(SECOND, epoch=4, live=SYMBOLS[:2]))

    snapshot, arms = host.folding.snapshot, host.folding.memory.market["arms"]
    assert snapshot.params == (STABLE, SECOND)
    assert snapshot.fingerprints == (fingerprint(STABLE), fingerprint(SECOND))
    assert (arms["epoch"] == snapshot.versions).all()
    assert (modes(host, BASELINE_ARM), modes(host, CANARY_ARM)) == ({QUIET}, {ACTIVE})
    assert set(arms["transition_counts"][:, CANARY_ARM, ACTIVE, MANUAL].tolist()) == {1}
    assert host.live_arms() == dict(zip(SYMBOLS, (CANARY, CANARY, BASELINE), strict=True))
    assert host.epoch == 4


def test_a_deployment_before_the_first_event_is_what_the_service_begins_with() -> None:
    host = Host([Instrument(symbol) for symbol in SYMBOLS], MEASUREMENT, STABLE, WIDE_CAPS)
    host.apply(deployment(SECOND))

    records = host.consume(Slice(T0, T0 + S, {}))

    assert [record.fingerprint for record in records if record.arm == CANARY] == [fingerprint(SECOND)] * 3
    assert [record.mode for record in records if record.arm == CANARY] == ["active"] * 3
    assert [record.live for record in records if record.arm == CANARY] == [True, False, False]


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


def refusing(place: int) -> Callable[[Any], int]:
    """A check that refuses one row: of symbol `place // 2`, in mode `place % 2`."""
    return lambda rows: place


def failing(rows: Any) -> int:
    raise RuntimeError("out of memory")


def with_modules(monkeypatch: pytest.MonkeyPatch, *modules: Module) -> None:
    monkeypatch.setattr(host_module, "prepare", partial(prepare, modules=modules))


@pytest.mark.parametrize("place", range(2 * len(SYMBOLS)))
@pytest.mark.parametrize("position", range(len(MODULES) + 1))
def test_a_module_that_refuses_one_symbol_leaves_every_symbol_as_it_was(
    monkeypatch: pytest.MonkeyPatch, place: int, position: int
) -> None:
    host = host_on_first()
    before = seen(host)
    stubborn = Module("stubborn", ("fee_bps",), refusing(place))
    with_modules(monkeypatch, *MODULES[:position], stubborn, *MODULES[position:])

    says = rf"module stubborn refuses {SYMBOLS[place // 2]} in {('quiet', 'active')[place % 2]} mode: fee_bps=3.0"
    with pytest.raises(ConfigError, match=says):
        host.apply(deployment(SECOND, epoch=4, live=SYMBOLS))

    assert seen(host) == before


@pytest.mark.parametrize("position", range(len(MODULES) + 1))
def test_a_module_that_fails_leaves_every_symbol_as_it_was(monkeypatch: pytest.MonkeyPatch, position: int) -> None:
    host = host_on_first()
    before = seen(host)
    with_modules(monkeypatch, *MODULES[:position], Module("broken", (), failing), *MODULES[position:])

    with pytest.raises(RuntimeError, match="out of memory"):
        host.apply(deployment(SECOND, epoch=4, live=SYMBOLS))

    assert seen(host) == before


def test_one_refusal_among_five_hundred_symbols_leaves_none_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    host = host_on_first(MANY)
    before = seen(host)
    with monkeypatch.context() as patch:
        with_modules(patch, *MODULES, Module("stubborn", ("fee_bps",), refusing(2 * 499)))
        with pytest.raises(ConfigError, match=r"module stubborn refuses S499USDT\.simulated"):
            host.apply(deployment(SECOND, epoch=4, live=MANY))

    after = seen(host)
    host.apply(deployment(SECOND, epoch=4, live=MANY))

    assert after == before
    assert set(host.live_fingerprints().values()) == {fingerprint(SECOND)}
    assert modes(host, CANARY_ARM) == {ACTIVE}


def test_after_a_refusal_windows_go_on_under_the_old_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    host, undisturbed = host_on_first(), host_on_first()
    with monkeypatch.context() as patch:
        with_modules(patch, Module("stubborn", (), refusing(0)))
        with pytest.raises(ConfigError):
            host.apply(deployment(SECOND, epoch=4, live=SYMBOLS))

    rows = [
        [record.to_row(MEASUREMENT) for record in it.consume(Slice(NOW, T0 + 4 * S, {}))] for it in (host, undisturbed)
    ]
    assert rows[0] == rows[1]


def test_reading_changes_nothing_and_what_was_read_is_put_in_force() -> None:
    host, at_once = host_on_first(), host_on_first()
    before = seen(host)

    candidate = host.read(GOOD)
    assert seen(host) == before

    host.apply(GOOD, candidate)
    at_once.apply(GOOD)
    assert host.live_fingerprints() == at_once.live_fingerprints()
    assert host.folding.snapshot.table.tobytes() == at_once.folding.snapshot.table.tobytes()
    assert host.folding.snapshot.params == at_once.folding.snapshot.params


def test_what_was_read_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    host = host_on_first()
    candidate = host.read(GOOD)
    monkeypatch.setattr(host_module, "parse_params", failing)
    monkeypatch.setattr(host_module, "param_rows", failing)

    host.apply(GOOD, candidate)

    assert host.live_fingerprints()[SYMBOLS[0]] == fingerprint(SECOND)


def test_an_epoch_that_passed_while_parameters_were_read_is_refused() -> None:
    host = host_on_first()
    candidate = host.read(GOOD)
    host.roll_back(None, epoch=5)
    before = seen(host)

    with pytest.raises(RefusedError, match="epoch 4 is older than 5"):
        host.apply(GOOD, candidate)

    assert seen(host) == before


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        pytest.param(replace(GOOD, epoch=2), RefusedError, id="an older epoch"),
        pytest.param(replace(GOOD, live=("DOGEUSDT.binance_usdm",)), RefusedError, id="an unknown symbol"),
        pytest.param(replace(GOOD, params="{}"), ConfigError, id="no parameters"),
    ],
)
def test_what_cannot_be_applied_is_not_read_either(wanted: Deployment, error: type[Exception]) -> None:
    with pytest.raises(error):
        host_on_first().read(wanted)


def test_the_same_epoch_may_apply_again() -> None:
    host = host_on_first()

    host.apply(deployment(SECOND, epoch=3))

    assert host.live_fingerprints()[SYMBOLS[0]] == fingerprint(SECOND)


def test_under_new_parameters_counting_towards_a_switch_starts_over() -> None:
    host = host_on_first()
    canaries = host.folding.memory.market["arms"][:, CANARY_ARM]
    canaries["agreeing"], canaries["decided"] = 2, ACTIVE  # as a dry run leaves it

    host.apply(deployment(params_with({"paper.fee_bps": 2.0}), epoch=4))

    assert canaries["agreeing"].tolist() == [0, 0, 0]
    assert canaries["decided"].tolist() == canaries["mode"].tolist() == [QUIET] * 3
    assert not canaries["transition_counts"].any()


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

    records = host.consume(Slice(NOW, T0 + 3 * S, {SYMBOLS[0]: EventBatch.of([])}))

    assert {(record.arm, record.live) for record in records if record.window_start_ns == T0 + 2 * S} == {
        (BASELINE, True),
        (CANARY, False),
    }
    assert {record.fingerprint for record in records if record.arm == CANARY} == {None, fingerprint(FIRST)}


def quote_at(arrival_ns: int) -> EventBatch:
    return EventBatch.of([BookTop(arrival_ns, 99.0, 1.0, 101.0, 1.0)])


def canary_fingerprints(host: Host, until_ns: int) -> dict[str, set[str | None]]:
    """Of each symbol, what its canary's windows up to a time say they ran on."""
    records = host.consume(Slice(host.clock_ns, until_ns, {}))
    found: dict[str, set[str | None]] = {symbol: set() for symbol in host.symbols}
    for record in records:
        if record.arm == CANARY:
            found[record.symbol].add(record.fingerprint)
    return found


def test_an_update_between_two_windows_mixes_nothing() -> None:
    host = host_on_first()
    host.consume(Slice(NOW, T0 + 2 * S, {}))

    host.apply(deployment(SECOND, epoch=4))

    assert canary_fingerprints(host, T0 + 3 * S) == {symbol: {fingerprint(SECOND)} for symbol in SYMBOLS}


@pytest.mark.parametrize(
    ("heard_ns", "is_mixed"),
    [
        pytest.param(T0 + 2 * S, False, id="the last event of the window before"),
        pytest.param(T0 + 2 * S + 1, True, id="the first event of the window"),
        pytest.param(T0 + 2 * S + 70 * MS, True, id="an event a tick later, which ran the symbol's clock ahead"),
    ],
)
def test_an_update_on_the_edge_mixes_the_window_of_a_symbol_that_was_heard_in_it(heard_ns: int, is_mixed: bool) -> None:
    host = host_on_first()
    host.consume(Slice(NOW, T0 + 2 * S, {}))
    host.hear({SYMBOLS[1]: quote_at(heard_ns)})

    host.apply(deployment(SECOND, epoch=4))

    expected = {symbol: {fingerprint(SECOND)} for symbol in SYMBOLS} | ({SYMBOLS[1]: {None}} if is_mixed else {})
    assert canary_fingerprints(host, T0 + 3 * S) == expected


def test_a_roll_back_on_the_edge_hides_no_mixture() -> None:
    host = host_on_first()
    host.consume(Slice(NOW, T0 + 2 * S, {}))
    host.hear({SYMBOLS[1]: quote_at(T0 + 2 * S + 1)})

    host.apply(deployment(SECOND, epoch=4))
    host.roll_back(None, epoch=4)

    assert canary_fingerprints(host, T0 + 3 * S)[SYMBOLS[1]] == {None}


def test_live_fingerprints_are_read_from_the_arms() -> None:
    host = host_on_first()

    host.folding.memory.market["arms"]["epoch"][0, CANARY_ARM] -= 1

    assert host.live_fingerprints() == {
        SYMBOLS[0]: "not adopted",
        SYMBOLS[1]: fingerprint(STABLE),
        SYMBOLS[2]: fingerprint(STABLE),
    }


@pytest.mark.parametrize(
    ("live", "coalesce_ns"),
    [
        pytest.param((), 30 * MS, id="baselines are live"),
        pytest.param(SYMBOLS, 20 * MS, id="canaries are live"),
        pytest.param(SYMBOLS[:1], 20 * MS, id="the most hurried live arm decides"),
    ],
)
def test_events_are_gathered_as_long_as_every_live_arm_allows(live: tuple[str, ...], coalesce_ns: int) -> None:
    throttled = {"mode": "quiet", "throttle_in_quiet": True}
    stable = params_with(throttled | {"quiet.performance.coalesce_ms": 30})
    host = Host([Instrument(symbol) for symbol in SYMBOLS], MEASUREMENT, stable, WIDE_CAPS)
    host.apply(deployment(params_with(throttled | {"quiet.performance.coalesce_ms": 20}), live=live))

    assert host.coalesce_ns() == coalesce_ns


def test_the_gathering_time_follows_the_modes_the_rollback_and_the_deployment() -> None:
    host = Host([Instrument(symbol) for symbol in SYMBOLS], MEASUREMENT, STABLE, WIDE_CAPS)
    own = {"throttle_in_quiet": True, "quiet.performance.coalesce_ms": 40, "active.performance.coalesce_ms": 10}
    before = host.coalesce_ns()
    host.apply(deployment(params_with(own), live=SYMBOLS))
    quiet = host.coalesce_ns()
    host.folding.memory.market["arms"]["mode"][2, CANARY_ARM] = ACTIVE
    one_active = host.coalesce_ns()
    host.roll_back(SYMBOLS[2:], epoch=1)

    assert (before, quiet, one_active) == (0, 40 * MS, 10 * MS)
    assert host.coalesce_ns() == 0


def test_asking_how_long_to_gather_costs_little_with_five_hundred_symbols() -> None:
    host = host_on_first(MANY)

    def cost_s() -> float:
        began = time.process_time()
        for _ in range(20):
            host.coalesce_ns()
        return (time.process_time() - began) / 20

    assert min(cost_s() for _ in range(5)) < 100e-6  # on every tick; symbol by symbol it takes five times as long


def test_exposure_is_the_position_times_the_limit_of_the_mode() -> None:
    host = host_on_first()
    host.apply(deployment(SECOND, epoch=4))
    host.folding.memory.market["arms"]["position"][1] = [1, -1]

    collector = HostCollector(host, Tally)
    samples = [s for family in collector.collect() if family.name == metrics.PAPER_EXPOSURE for s in family.samples]
    exposure = {(sample.labels["symbol"], sample.labels["arm"]): sample.value for sample in samples}

    assert exposure[SYMBOLS[1], BASELINE] == 0.5
    assert exposure[SYMBOLS[1], CANARY] == -0.9
    assert set(exposure.values()) == {0.5, -0.9, 0.0}
    assert len(exposure) == len(SYMBOLS) * len(ARMS)
