"""What goes wrong in the parameters of a deploy, and between reading them and putting them in force.

A kind is a context: the fault is planted inside it, at a symbol of twenty.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from unittest.mock import patch

from benchmarks.one_process import TTL_S, require_ok
from benchmarks.partial_scene import SYMBOLS, Scene, release, with_limit
from engine.rollout.spec import ReleaseSpec
from engine.strategy import host as host_module
from engine.strategy import table
from engine.strategy.checks import MODULES, Module
from engine.strategy.host import Candidate, Deployment

Kind = Callable[[Scene, int], AbstractContextManager[None]]
Plant = Callable[[Scene, int], None]

REFUSED = (
    ("bucket_ns", 7), ("ema_alpha", 0.0), ("order_rate_limit", 0), ("flush_ns", 0), ("enter", 0.0),
    ("allocation_usd", 0.0), ("market_ns", 0),
)  # fmt: skip
"""A value that each module refuses."""

FLOATS = ("position_limit", "denoise_sigma", "ema_alpha", "fee_bps", "enter", "weight_ofi", "cvd_z_alpha")
NOT_NUMBERS = (math.nan, math.inf, -math.inf)
UNREADABLE = ('"high"', "5.0", "NaN", "null")
"""Position limits that no configuration may have."""


def spoil(scene: Scene, place: int, field: str, value: float) -> None:
    """Let a row of the parameters that were read have a wrong value."""

    def spoiled(wanted: Deployment, candidate: Candidate) -> Candidate:
        candidate.rows[field][place, place % 2] = value
        return candidate

    scene.door.between = spoiled


def module_refuses(scene: Scene, place: int) -> None:
    spoil(scene, place, *REFUSED[place % len(REFUSED)])


def not_a_number(scene: Scene, place: int) -> None:
    spoil(scene, place, FLOATS[place % len(FLOATS)], NOT_NUMBERS[place % len(NOT_NUMBERS)])


@contextmanager
def module_raises(scene: Scene, place: int) -> Iterator[None]:
    def check(rows: table.Rows) -> int:
        raise (RuntimeError, MemoryError, ZeroDivisionError)[place % 3](f"row {2 * place} of {len(rows)}")

    faulty = (*MODULES[: place % 8], Module("faulty", (), check), *MODULES[place % 8 :])
    with patch.object(host_module, "prepare", partial(table.prepare, modules=faulty)):
        yield


@contextmanager
def _other_release(scene: Scene, one: ReleaseSpec) -> Iterator[None]:
    with patch.dict(scene.spec.releases, {scene.stage: one}):
        yield


def override_unreadable(scene: Scene, place: int) -> AbstractContextManager[None]:
    text = with_limit(scene.spec.releases[scene.stage].params, 0.123456, SYMBOLS[place])
    return _other_release(scene, release(text.replace("0.123456", UNREADABLE[place % len(UNREADABLE)])))


def override_not_approved(scene: Scene, place: int) -> AbstractContextManager[None]:
    approved = scene.spec.releases[scene.stage]
    return _other_release(scene, replace(approved, params=with_limit(approved.params, 0.5, SYMBOLS[place])))


def unknown_symbol(scene: Scene, place: int) -> None:
    scene.symbols = [*SYMBOLS[:place], "NOSUCH.simulated", *SYMBOLS[place + place % 2 :]]


def _once_between(scene: Scene, happens: Callable[[Deployment], None], times: tuple[int, ...] = (1, 2)) -> None:
    """Let something happen between reading and putting in force, at the drill (1), the deploy (2) or both."""
    reads = 0

    def between(wanted: Deployment, candidate: Candidate) -> Candidate:
        nonlocal reads
        reads += 1
        if reads in times:
            happens(wanted)
        return candidate

    scene.door.between = between


def older_epoch_between(scene: Scene, place: int) -> None:
    def happens(wanted: Deployment) -> None:
        answer = scene.door.interleave("roll_back", epoch=wanted.epoch - 1, symbols=[SYMBOLS[place]])
        if answer["ok"] or not answer["refused"]:
            scene.mixtures.append(f"an older epoch was obeyed: {answer}")

    _once_between(scene, happens)


def newer_epoch_between(scene: Scene, place: int) -> None:
    def happens(wanted: Deployment) -> None:
        command = {"command": "renew"} if place % 2 else {"command": "roll_back", "symbols": None}
        require_ok("", scene.door.interleave(epoch=wanted.epoch + 1 + place // 4, **command))

    _once_between(scene, happens, (1 + place // 2 % 2,))


def second_deploy_between(scene: Scene, place: int) -> None:
    """Another request for another candidate on some symbols, which nobody ordered, comes later and is faster."""
    other = release(with_limit(scene.spec.baseline.params, 0.7))
    scene.allow("other", other, SYMBOLS[: place + 1])

    def happens(wanted: Deployment) -> None:
        scene.door.between = lambda wanted, candidate: candidate
        answer = scene.door.interleave(
            "apply", rollout_id=wanted.rollout_id, stage=wanted.stage, epoch=wanted.epoch,
            fingerprint=other.fingerprint, params=other.params, live=list(SYMBOLS[: place + 1]),
        )  # fmt: skip
        require_ok("apply", answer)

    _once_between(scene, happens, (1 + place % 2,))


def lease_expires_between(scene: Scene, place: int) -> None:
    """Exactly at its time to live it holds; later it does not."""
    _once_between(scene, lambda wanted: scene.clock.sleep(TTL_S + place / 20), (1 + place // 2 % 2,))


def killed_between(scene: Scene, place: int) -> None:
    """SIGKILL between reading and putting in force: nothing after it happens, and nobody answers."""

    def happens(wanted: Deployment) -> None:
        scene.door.die()
        raise RuntimeError("the process is gone")

    _once_between(scene, happens, (1 + place % 2,))


@contextmanager
def read_back_differs(scene: Scene, place: int) -> Iterator[None]:
    """Once something was put in force, the status says of one symbol what is not so."""
    real = host_module.Host.live_fingerprints

    def lies(host: host_module.Host) -> dict[str, str]:
        found = real(host)
        return found | {SYMBOLS[place]: "not adopted"} if SYMBOLS[place] in host.exposed() else found

    with patch.object(host_module.Host, "live_fingerprints", lies):
        yield


def planted(plant: Plant) -> Kind:
    """The kind whose context has nothing to undo."""

    @contextmanager
    def kind(scene: Scene, place: int) -> Iterator[None]:
        plant(scene, place)
        yield

    return kind


IN_PARAMETERS: dict[str, Kind] = {
    "a module refuses the row of a symbol": planted(module_refuses),
    "a number of a symbol is NaN or infinite": planted(not_a_number),
    "a module raises": module_raises,
    "an override of a symbol cannot be read": override_unreadable,
    "an override of a symbol was not approved": override_not_approved,
    "an unknown symbol in the list": planted(unknown_symbol),
    "an older epoch comes between reading and applying": planted(older_epoch_between),
    "a newer epoch comes between reading and applying": planted(newer_epoch_between),
    "a second deploy comes between": planted(second_deploy_between),
    "the lease expires between": planted(lease_expires_between),
    "the service is killed between": planted(killed_between),
    "the read back of a symbol differs": read_back_differs,
}
