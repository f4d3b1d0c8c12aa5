"""Every invariant can fail: a world with one broken part is caught by the one that is there for it."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from benchmarks.interleave import short_spec
from benchmarks.simulation.crew import JOURNAL, Parts
from benchmarks.simulation.flow import SimFlow
from benchmarks.simulation.invariants import Broken, i4_orders_have_outcomes, i14_noise_does_not_roll_back
from benchmarks.simulation.people import Desk
from benchmarks.simulation.service import ModelService
from benchmarks.simulation.world import World
from engine.adapters.disk_model import FakeDisk
from engine.clock import NS_PER_S
from engine.rollout.guardian import Guardian
from engine.rollout.journal import Record, RecordType
from engine.rollout.orders import Orders
from engine.rollout.ports import StandIn


class NoEpochs(ModelService):
    """Obeys whoever speaks last."""

    def _check_epoch(self, epoch: int) -> None:
        return

    def _lease_is_live(self) -> bool:
        return True


class NoDeadMan(ModelService):
    """Goes on without a lease."""

    def guard(self) -> None:
        return


class Mixing(ModelService):
    """Leaves one symbol on other parameters."""

    def live_fingerprints(self) -> dict[str, str]:
        found = super().live_fingerprints()
        return found | ({self.symbols[-1]: "candidate-of-old"} if self.live else {})


class TooMany(ModelService):
    """Deploys one symbol more than it was told to, and does not say so."""

    def live_fingerprints(self) -> dict[str, str]:
        found = super().live_fingerprints()
        return found | ({self.symbols[-1]: self.fingerprint} if self.live else {})

    def status(self) -> dict[str, Any]:
        return super().status() | {"live": super().live_fingerprints()}


class OnTheWallClock(ModelService):
    """Takes the wall clock for the venue's."""

    def market_ns(self) -> int:
        return self.clock.now_ns()


class NoSync(FakeDisk):
    """Says that bytes are durable before they are."""

    def sync(self, path: Path) -> None:
        return


class Unchecked(Orders):
    """Writes whatever it is asked to."""

    def _require_running(self, state: Any) -> None:
        return

    def rearm(self, reason: str, actor: str) -> Record:
        return self.journal.append(RecordType.REARMED, {"reason": reason}, actor=actor, epoch_up=True)

    def once(self, step: str, type_: RecordType, body: Any, check: Any, attempt: int, **labels: Any) -> Record:
        return self.journal.append(type_, body, step=step, **labels)


class Blind(Guardian):
    """Renews the lease, and sees nothing."""

    def _judge(self, state: Any, sight: Any) -> None:
        return


class Eager(Guardian):
    """Deploys what nobody ordered."""

    def _judge(self, state: Any, sight: Any) -> None:
        if state.deployed is not None:
            self._deploying._apply(state, "50pct", self._spec.symbols["50pct"])


class Nervous(Guardian):
    """Rolls back because the flow is gone."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._flows: StandIn = arguments[5]

    def tick(self) -> None:
        if not self._flows.is_working():
            self._orders.order_rollback("nobody is at work", "auto:guardian")
        super().tick()


class Impatient(SimFlow):
    """Advances without a question."""

    def _ask(self, stage: str, digest: str) -> None:
        self.wiring.journal.append(RecordType.ADVANCED, {"by": "nobody"}, stage=stage)


class Stubborn(SimFlow):
    """Orders the deploy again after a rollback."""

    def run(self, who: str) -> None:
        super().run(who)
        symbols = list(self.wiring.spec.symbols["10pct"])
        self.wiring.journal.append(RecordType.DEPLOY_ORDERED, {"symbols": symbols}, stage="10pct")


class Crashing(SimFlow):
    """Ends with something that is no sentence."""

    def run(self, who: str) -> None:
        raise KeyError(who)


def lived(parts: dict[str, Any], *happenings: Callable[[World], object]) -> World:
    """A world with these parts, two minutes into its first stage of an hour, after something has happened."""
    world = World(1, parts=Parts(spec=short_spec(), fail_share=0.0, **parts))
    world.begin()
    live(world, 120)
    for happen in happenings:
        happen(world)
        live(world, 120)
    return world


def live(world: World, seconds: float) -> None:
    world.live_until(world.hub.now_ns() + round(seconds * NS_PER_S))


def apply(epoch: int) -> Callable[[World], object]:
    def happen(world: World) -> None:
        symbols = list(world.spec.symbols["10pct"])
        world.service.live = frozenset()
        world.service.kept.lease = (epoch, world.clock.boot_id(), world.clock.mono_ns())
        world.service.apply(stage="10pct", epoch=epoch, fingerprint="candidate-10pct", live=symbols)

    return happen


def kill(kind: str) -> Callable[[World], None]:
    def happen(world: World) -> None:
        for process in [process for process in world.hub.processes if process.kind == kind]:
            world.hub.kill(process)

    return happen


def guardian_stays_away(world: World) -> None:
    world.keeps_away_until_ns = world.hub.now_ns() + 3600 * NS_PER_S
    kill("guardian")(world)


def no_stand_in(world: World) -> None:
    world.stand_in.start = lambda: None  # type: ignore[method-assign]
    kill("flow")(world)
    live(world, 300)


def trip(world: World) -> None:
    world.service.trip("loss", "lost too much")
    world.hub.change()


def lose_power(world: World) -> None:
    world.power_loss(10.0)
    for number in range(20):
        world.disk.crash(Random(number))
        world.check_journal()


def spoil_journal(world: World) -> None:
    world.disk.overwrite(JOURNAL, 200, b"\x00")
    world.check_journal()


def order_and_die(world: World) -> None:
    world.person(lambda desk: desk.orders.order_rollback("wanted", "Ada"))


def person(act: Callable[[Desk], None]) -> Callable[[World], object]:
    return lambda world: world.person(act)


def another_flow(world: World) -> None:
    world.start_flow("another", waits=False)


def an_hour(world: World) -> None:
    live(world, 3600)


BROKEN: dict[str, tuple[str, dict[str, Any], tuple[Callable[[World], object], ...]]] = {
    "a symbol too many": ("i1_exposure", {"service": TooMany}, ()),
    "an older epoch": ("i1_no_older_epoch_raises", {"service": NoEpochs}, (apply(0),)),
    "an advance that nobody asked for": ("i2_advance_needs_a_yes", {"flow": Impatient}, (an_hour,)),
    "an order after an abort": ("i3_abort_is_final", {"flow": Stubborn}, (person(Desk.roll_back),)),
    "a deploy after an abort": ("i3_no_raise_after_abort", {"service": NoEpochs}, (person(Desk.roll_back), apply(9))),
    "a deploy without an order": ("i4_write_ahead", {"guardian": Eager}, ()),
    "a step done twice": ("i4_every_step_once", {"orders": Unchecked}, (another_flow, an_hour)),
    "an order without an outcome": ("i11_recovers", {"guardian": Blind}, (trip,)),
    "two sets of parameters": ("i5_one_fingerprint", {"service": Mixing}, ()),
    "a disk that promises too much": ("i[67]_[a-z_]+", {"disk": NoSync}, (lose_power,)),
    "a changed byte": ("i7_chain_is_whole", {}, (spoil_journal,)),
    "nobody takes the flow's place": ("i11_goes_on", {}, (no_stand_in, an_hour, an_hour)),
    "no dead-man switch": ("i11_dead_man", {"service": NoDeadMan}, (guardian_stays_away,)),
    "market time by the wall clock": (
        "i12_no_early_end", {"service": OnTheWallClock}, (lambda world: world.clock.jump_wall(86_400), an_hour),
    ),
    "a machine that re-arms": ("i13_no_self_restart", {"orders": Unchecked}, (person(Desk.rearm_as_machine),)),
    "a process that crashes": ("no_process_crashes", {"flow": Crashing}, ()),
}  # fmt: skip


@pytest.mark.parametrize(
    ("invariant", "parts", "happenings"), [pytest.param(*row, id=name) for name, row in BROKEN.items()]
)
def test_a_broken_part_is_caught(
    invariant: str, parts: dict[str, Any], happenings: tuple[Callable[[World], object], ...]
) -> None:
    with pytest.raises(Broken, match=f"^{invariant}: "):
        lived(parts, *happenings)


REFUSED = ("an older epoch", "a deploy after an abort")
"""What a sound service refuses with an error instead."""

SOUND = [pytest.param(row[2], id=name) for name, row in BROKEN.items() if row[1] and row[2] and name not in REFUSED]


@pytest.mark.parametrize("happenings", SOUND)
def test_the_same_happening_breaks_nothing_in_a_sound_world(happenings: tuple[Callable[[World], object], ...]) -> None:
    lived({}, *happenings)


def test_a_guardian_that_minds_the_control_plane_is_caught() -> None:
    world = lived({"guardian": Nervous}, kill("flow"))

    assert i14_noise_does_not_roll_back(world.facts) == "1 rollback(s) without a reason"


def test_an_order_that_nobody_carries_out_is_found_at_the_end() -> None:
    world = lived({}, guardian_stays_away, kill("flow"), order_and_die)

    assert "RollbackOrdered" in (i4_orders_have_outcomes(world.facts) or "")
