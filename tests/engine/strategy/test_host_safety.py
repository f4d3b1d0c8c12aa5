"""What lowers exposure at once on all symbols or some: standing down, killing, and re-arming after it."""

from dataclasses import replace
from typing import Any

import pytest

from engine.errors import RefusedError
from engine.strategy.events import BookTop, EventBatch, Slice
from engine.strategy.fold import BASELINE, CANARY
from engine.strategy.host import Host
from engine.strategy.kernels.paper import on_quote, want
from engine.strategy.layout import ACTIVE, BASELINE_ARM, CANARY_ARM, GUARDRAIL, QUIET
from engine.strategy.mode import Reason
from engine.strategy.params import fingerprint
from tests.making import MS, T0, WIDE_CAPS, S
from tests.making_service import CANDIDATE, STABLE, SYMBOLS, host_of, wanted

NOW = T0 + 3 * S // 2
BID, ASK = 99.0, 101.0


def quoted_host(live: tuple[str, ...] = SYMBOLS) -> Host:
    """A host that has heard one quote of each symbol, in the middle of a window; the candidate live in epoch 3."""
    host = host_of()
    quote = EventBatch.of([BookTop(T0 + 10 * MS, BID, 1.0, ASK, 1.0)])
    host.consume(Slice(T0, NOW, dict.fromkeys(SYMBOLS, quote)))
    host.apply(wanted(epoch=3, live=live))
    return host


def hold(host: Host, i: int, j: int, position: int) -> Any:
    """Let one arm come to hold a position at a mid of 100; return its record."""
    market, rows = host.folding.memory.market, host.folding.snapshot.rows
    m = market[i]
    arm, p = m["arms"][j], rows[i]["modes"][j, m["arms"][j]["mode"]]
    want(arm, p, m["caps"], position, T0)
    on_quote(arm, p, m["caps"], T0 + S, 100.0, 100.0)
    assert arm["position"] == position
    return arm


def test_standing_down_puts_the_baseline_on_every_symbol_and_leaves_no_mixture() -> None:
    host = quoted_host()

    host.stand_down()

    assert host.live_fingerprints() == dict.fromkeys(SYMBOLS, fingerprint(STABLE))
    assert host.exposed() == ()
    assert host.epoch == 3


def test_standing_down_makes_the_canaries_quiet_and_says_why() -> None:
    host = quoted_host()
    host.take_transitions()
    arms = host.folding.memory.market["arms"]
    assert set(arms["mode"][:, CANARY_ARM].tolist()) == {ACTIVE}

    host.stand_down()

    assert set(arms["mode"][:, CANARY_ARM].tolist()) == {QUIET}
    assert arms["transition_counts"][:, CANARY_ARM, QUIET, GUARDRAIL].tolist() == [1, 1]
    told = [(symbol, arm, change.reason) for symbol, arm, change, _ in host.take_transitions()]
    assert told == [(symbol, CANARY, Reason.GUARDRAIL) for symbol in SYMBOLS]


@pytest.mark.parametrize(
    ("position", "price"),
    [pytest.param(1, BID, id="a long one at the bid"), pytest.param(-1, ASK, id="a short at the ask")],
)
def test_a_kill_leaves_a_position_at_once_at_the_present_price_and_pays_for_it(position: int, price: float) -> None:
    host = quoted_host()
    arm = hold(host, 0, CANARY_ARM, position)
    before = float(arm["equity_bps"])

    host.kill([SYMBOLS[0]], epoch=4)

    way_bps = position * (price / 100.0 - 1.0) * 1e4
    assert float(arm["equity_bps"]) == pytest.approx(before + way_bps - 2.0)
    assert (arm["position"], arm["wanted"], arm["due_ns"]) == (0, 0, 0)
    assert host.is_flat()


@pytest.mark.parametrize("arm_of", [BASELINE_ARM, CANARY_ARM], ids=[BASELINE, CANARY])
def test_an_order_under_way_is_not_carried_out_after_a_kill(arm_of: int) -> None:
    host = quoted_host()
    m = host.folding.memory.market[0]
    arm, p = m["arms"][arm_of], host.folding.snapshot.rows[0]["modes"][arm_of, m["arms"][arm_of]["mode"]]
    want(arm, p, m["caps"], 1, NOW)

    host.kill(None, epoch=4)
    on_quote(arm, p, m["caps"], NOW + S, BID, ASK)

    assert arm["position"] == 0
    assert host.is_flat()


@pytest.mark.parametrize("position", [1, -1], ids=["long", "short"])
def test_nothing_is_ordered_while_a_symbol_is_killed_and_again_after_re_arming(position: int) -> None:
    host = quoted_host()
    host.kill([SYMBOLS[0]], epoch=4)
    market = host.folding.memory.market
    arm, p = market[0]["arms"][CANARY_ARM], host.folding.snapshot.rows[0]["modes"][CANARY_ARM, QUIET]

    want(arm, p, market[0]["caps"], position, NOW + 100 * S)
    while_killed = int(arm["order_count"])
    host.rearm(5)
    want(arm, p, market[0]["caps"], position, NOW + 200 * S)

    assert (while_killed, int(arm["order_count"])) == (0, 1)
    assert host.killed == {}


def test_re_arming_allows_no_more_than_the_caps_do() -> None:
    host = host_of(replace(WIDE_CAPS, instruments=(SYMBOLS[0],)))
    host.kill(None, epoch=1)

    host.rearm(2)

    assert host.folding.memory.market["caps"]["is_tradable"].tolist() == [1, 0]


def test_a_kill_of_some_symbols_leaves_the_others_as_they_are() -> None:
    host = quoted_host()
    held = hold(host, 1, CANARY_ARM, 1)

    host.kill([SYMBOLS[0]], epoch=4)

    assert host.live_arms() == {SYMBOLS[0]: BASELINE, SYMBOLS[1]: CANARY}
    assert held["position"] == 1
    assert host.killed == {SYMBOLS[0]: 4}
    assert host.is_flat()


def test_a_kill_before_the_first_event_holds_for_what_comes() -> None:
    host = host_of()
    host.kill(None, epoch=1)
    quote = EventBatch.of([BookTop(T0 + 10 * MS, BID, 1.0, ASK, 1.0)])
    host.consume(Slice(T0, NOW, dict.fromkeys(SYMBOLS, quote)))

    market = host.folding.memory.market
    arm, p = market[0]["arms"][BASELINE_ARM], host.folding.snapshot.rows[0]["modes"][BASELINE_ARM, QUIET]
    want(arm, p, market[0]["caps"], 1, NOW)

    assert arm["order_count"] == 0


def test_a_killed_symbol_takes_no_candidate() -> None:
    host = quoted_host(live=())
    host.kill([SYMBOLS[1]], epoch=4)

    with pytest.raises(RefusedError, match=rf"{SYMBOLS[1]} was killed"):
        host.apply(wanted(epoch=4))
    host.apply(wanted(epoch=4, live=SYMBOLS[:1]))

    assert host.exposed() == SYMBOLS[:1]


@pytest.mark.parametrize("order", ["kill", "roll_back"])
def test_an_older_epoch_may_not_even_lower(order: str) -> None:
    host = quoted_host()

    with pytest.raises(RefusedError, match="epoch 2 is older than 3"):
        getattr(host, order)(None, epoch=2)

    assert host.exposed() == SYMBOLS
    assert host.killed == {}


def test_what_a_live_canary_earned_counts_from_when_it_went_live() -> None:
    host = quoted_host(live=SYMBOLS[:1])
    arms = host.folding.memory.market["arms"]
    arms["equity_bps"][:, CANARY_ARM] = -70.0
    host.apply(wanted(epoch=3, live=SYMBOLS))
    arms["equity_bps"][:, CANARY_ARM] = -100.0

    assert [arm.earned_bps for arm in host.live_canaries()] == [-100.0, -30.0]


def test_what_it_earned_starts_anew_at_midnight() -> None:
    host = quoted_host(live=SYMBOLS[:1])
    equity = host.folding.memory.market["arms"]["equity_bps"]
    host.live_canaries()
    equity[0, CANARY_ARM] = -70.0
    host.clock_ns = T0 + 86_400 * S - 1
    before = host.live_canaries()
    host.clock_ns = T0 + 86_400 * S
    host.live_canaries()
    equity[0, CANARY_ARM] = -80.0

    assert [arm.earned_bps for arm in before] == [-70.0]
    assert [arm.earned_bps for arm in host.live_canaries()] == [-10.0]


def test_a_live_canary_is_read_with_its_position_and_the_orders_of_the_last_minute() -> None:
    host = quoted_host(live=SYMBOLS[:1])
    arm = hold(host, 0, CANARY_ARM, -1)
    arm["orders_ns"][:3] = (NOW - 60 * S, NOW - 60 * S + 1, NOW)
    arm["strength"] = 0.5

    (read,) = host.live_canaries()

    unit_usd = CANDIDATE.active.risk.position_limit * CANDIDATE.paper.allocation_usd
    assert (read.symbol, read.position_usd, read.orders, read.strength) == (SYMBOLS[0], -unit_usd, 2, 0.5)


def test_progress_is_that_of_the_slowest_symbol() -> None:
    host = quoted_host()
    host.folding.memory.market["now_ns"][1] -= 7 * S

    assert host.slowest_symbol_ns() == NOW - 7 * S
