"""Models of whoever starts and stops the processes of a rollout."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from benchmarks.simulation.hub import Hub
from benchmarks.simulation.service import ModelService
from engine.errors import ServiceError


class ModelSupervisor:
    """Restarts the modelled service; that takes seconds. `failures` of the next restarts fail.

    `deaths` of the next processes die soon after they have started. Two restarts at once are one, as with
    the embedded supervisor.
    """

    def __init__(self, hub: Hub, service: ModelService, dice: Random) -> None:
        self._hub = hub
        self._service = service
        self._dice = dice
        self.is_held = False
        self.failures = 0
        self.deaths = 0
        self.is_on_baseline = False

    def is_alive(self) -> bool:
        self._hub.operation()
        return self._service.is_running

    def restart(self, *, on_baseline: bool) -> None:
        with self._restarting() as was_first:
            if not was_first and self._service.is_running:
                return
            self._hub.operation()
            self.kill()
            self.is_on_baseline = on_baseline
            self._hub.operation()
            self._hub.sleep(self._dice.uniform(0.5, 3.0))
            self._hub.operation()
            if self.failures > 0:
                self.failures -= 1
                raise ServiceError("the service did not start")
            self.boot()

    def stop(self) -> None:
        self._hub.operation()
        self.kill()

    def kill(self) -> None:
        """The process is gone, whoever asked for it."""
        self._service.die()
        self._hub.change()

    def boot(self) -> None:
        """Start a process with the switches that were written last."""
        if self._service.is_running:
            return
        self._service.boot(switched_off=self.is_on_baseline)
        self._hub.change()
        if self.deaths > 0:
            self.deaths -= 1
            boots = self._service.boots
            self._hub.plan(self._dice.uniform(0.1, 5.0), lambda: self._die_of(boots))

    def _die_of(self, boots: int) -> None:
        if self._service.boots == boots:
            self.kill()

    @contextmanager
    def _restarting(self) -> Iterator[bool]:
        """Hold the restart; False for one who had to wait for another's."""
        was_first = not self.is_held
        while self.is_held:
            self._hub.block()
        self.is_held = True
        try:
            yield was_first
        finally:
            self.is_held = False
            self._hub.unblock()


class ModelStandIn:
    """Knows whether a flow is at work and puts another in its place."""

    def __init__(self, hub: Hub, start: Callable[[], None]) -> None:
        self._hub = hub
        self._start = start

    def is_working(self) -> bool:
        return any(process.kind == "flow" for process in self._hub.processes)

    def start(self) -> None:
        for process in [process for process in self._hub.processes if process.kind == "flow"]:
            self._hub.kill(process)
        self._hub.operation()
        self._start()
