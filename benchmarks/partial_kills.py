"""What goes wrong around the commands of a deploy: lost, answered to nobody, processes killed, disks full.

A place is the number of a command or of a write, from 0, counted from the order on.
"""

import errno
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from unittest.mock import patch

from benchmarks.partial_faults import Kind, planted
from benchmarks.partial_scene import SYMBOLS, GuardianDied, Scene
from engine.adapters.standing import StandingFiles
from engine.errors import RefusedError, ServiceError

Happens = Callable[[Scene], None]


def _at_command(scene: Scene, place: int, happens: Happens, *, after: bool) -> None:
    """Let something happen at the command of that place after now."""
    wanted = scene.door.count + place + 1

    def hook(number: int, command: str) -> None:
        if number == wanted:
            scene.fault_tick = scene.ticks
            happens(scene)

    setattr(scene.door, "after" if after else "before", hook)


def _no_answer(scene: Scene) -> None:
    raise ServiceError("the connection broke before the answer")


def _service_dies(scene: Scene) -> None:
    scene.door.die()
    _no_answer(scene)


def _service_starts_anew(scene: Scene) -> None:
    """Killed, and started by a supervisor of its own before anybody has looked."""
    scene.door.die()
    scene.door.boot(switched_off=False)


def _service_starts_anew_silently(scene: Scene) -> None:
    _service_starts_anew(scene)
    _no_answer(scene)


def _guardian_dies(scene: Scene) -> None:
    raise GuardianDied


AT_A_COMMAND: dict[str, tuple[Happens, bool]] = {
    "an answer is lost after it was carried out": (_no_answer, True),
    "a command is lost": (_no_answer, False),
    "the service is killed before a command": (_service_dies, False),
    "the service is killed after a command": (_service_dies, True),
    "the service is killed and started before a command": (_service_starts_anew, False),
    "the service is killed and started after an answer": (_service_starts_anew, True),
    "the service is killed and started instead of an answer": (_service_starts_anew_silently, True),
    "the guardian is killed before a command": (_guardian_dies, False),
    "the guardian is killed after a command": (_guardian_dies, True),
}
"""What happens, and whether the command is carried out first."""


@contextmanager
def _full_disk(scene: Scene, method: str, place: int) -> Iterator[None]:
    """No space for the write of that place, or from there on for ever."""
    writes, real = 0, getattr(StandingFiles, method)

    def write(files: StandingFiles, *what: object) -> None:
        nonlocal writes
        writes += 1
        if writes == place + 1 or (writes > place and place % 2):
            scene.fault_tick = scene.ticks
            raise OSError(errno.ENOSPC, "No space left on device")
        real(files, *what)

    with patch.object(StandingFiles, method, write):
        yield


def no_space_for_the_state(scene: Scene, place: int) -> AbstractContextManager[None]:
    return _full_disk(scene, "write", place // 2)


def no_space_for_the_lease(scene: Scene, place: int) -> AbstractContextManager[None]:
    return _full_disk(scene, "write_lease", place // 2)


def _while_deployed(scene: Scene, happens: Callable[[], None]) -> None:
    """Order, wait until it is deployed, and let something happen then."""
    scene.order()
    scene.tick()
    happens()
    scene.order = lambda: None  # type: ignore[method-assign]


def _refuses(scene: Scene, what: Callable[[], object]) -> None:
    """Something must be refused and change nothing."""
    before = scene.whole()
    try:
        what()
        scene.mixtures.append("a list with an unknown symbol was accepted")
    except RefusedError:
        if scene.whole() != before or before != "new":
            scene.mixtures.append(f"a refusal changed {before} into {scene.whole()}")


def lowered_with_unknown_symbol(scene: Scene, place: int, how: str) -> None:
    """A rollback or kill that names a symbol nobody knows at that place."""
    names = [*SYMBOLS[:place], "NOSUCH.simulated", *SYMBOLS[place:]]
    lower = {"roll_back": scene.service.roll_back, "kill": scene.service.kill}[how]
    _while_deployed(scene, lambda: _refuses(scene, lambda: lower(scene.state().epoch, names)))
    if how == "roll_back":
        _refuses(scene, lambda: scene.orders.order_rollback("odd", "Ada", symbols=names))


def part_then_fault(scene: Scene, place: int, *, fault: Happens, after: bool) -> None:
    """Some symbols are taken off by order, and a command of that rollback goes wrong."""
    gone = SYMBOLS[: place + 1]
    scene.allow("part", scene.spec.releases[scene.stage], [one for one in SYMBOLS if one not in gone])
    scene.carried_out = {"part", "baseline"}

    def happens() -> None:
        scene.orders.order_rollback("odd", "Ada", symbols=list(gone))
        _at_command(scene, place % 2, fault, after=after)

    _while_deployed(scene, happens)


IN_COMMANDS: dict[str, Kind] = {
    name: planted(partial(_at_command, happens=happens, after=after)) for name, (happens, after) in AT_A_COMMAND.items()
} | {
    "no space for the service's state": no_space_for_the_state,
    "no space for the lease": no_space_for_the_lease,
    "a rollback names an unknown symbol": planted(partial(lowered_with_unknown_symbol, how="roll_back")),
    "a kill names an unknown symbol": planted(partial(lowered_with_unknown_symbol, how="kill")),
    "the answer of a part rollback is lost": planted(partial(part_then_fault, fault=_no_answer, after=True)),
    "the service is killed before a part rollback": planted(partial(part_then_fault, fault=_service_dies, after=False)),
    "the service is killed after a part rollback": planted(partial(part_then_fault, fault=_service_dies, after=True)),
}
