"""The way from a process to the service: takes time, and may lose the command, the answer, or deliver it late."""

from dataclasses import dataclass, field
from random import Random
from typing import Any

from benchmarks.simulation.hub import Hub
from benchmarks.simulation.service import ModelService
from engine.clock import NS_PER_S
from engine.errors import GraygateError, ServiceError

LATENCY_S = 0.002


@dataclass
class Weather:
    """How the network is. `drops`, `losses` and `delays` are how many of the next commands suffer that."""

    cut_off: set[str] = field(default_factory=set)
    drops: int = 0
    losses: int = 0
    delays: int = 0


class Wire:
    """The service's control door and metrics, as one kind of process reaches them; see `ControlledService`."""

    def __init__(self, hub: Hub, service: ModelService, weather: Weather, dice: Random, who: str, timeout_s: float):
        self._hub = hub
        self._service = service
        self._weather = weather
        self._dice = dice
        self._who = who
        self._timeout_s = timeout_s

    def status(self) -> dict[str, Any]:
        return self._call("status")

    def play(self, until_ns: int) -> None:
        self._call("play", until_ns)

    def apply(self, **deployment: Any) -> dict[str, Any]:
        return self._call("apply", **deployment)

    def roll_back(self, epoch: int, symbols: list[str] | None = None) -> dict[str, Any]:
        return self._call("roll_back", epoch, symbols)

    def renew(self, epoch: int) -> dict[str, Any]:
        return self._call("renew", epoch)

    def kill(self, epoch: int, symbols: list[str] | None = None) -> dict[str, Any]:
        return self._call("kill", epoch, symbols)

    def rearm(self, epoch: int) -> dict[str, Any]:
        return self._call("rearm", epoch)

    def windows(self, after: int) -> dict[str, Any]:
        return {"boot": self.status()["boot"], "last": after, "windows": []}

    def scrape(self) -> dict[str, Any]:
        """A row; one that failed is a row too."""
        try:
            return {"scrape_ok": True, "clock_ns": self.status()["clock_ns"], "error": None}
        except ServiceError as error:
            return {"scrape_ok": False, "clock_ns": None, "error": str(error)}

    def _call(self, command: str, *arguments: Any, **named: Any) -> Any:
        self._hub.operation()
        self._hub.sleep(self._dice.random() * LATENCY_S)
        weather, service = self._weather, self._service
        if self._who in weather.cut_off or _takes_one(weather, "drops"):
            return self._give_up(command)
        if service.hangs or _takes_one(weather, "delays"):
            self._deliver_late(command, arguments, named)
            return self._give_up(command)
        if not service.is_running:
            raise ServiceError(f"nobody answers {command}")
        answer = getattr(service, command)(*arguments, **named)
        if _takes_one(weather, "losses"):
            return self._give_up(command)
        self._hub.operation()
        return answer

    def _give_up(self, command: str) -> None:
        self._hub.sleep(self._timeout_s)
        raise ServiceError(f"the service does not answer {command}")

    def _deliver_late(self, command: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        """The command waits in the socket: the process it was sent to reads it when it can, wanted or not."""
        boots, service = self._service.boots, self._service

        def deliver() -> None:
            if not service.is_running or service.boots != boots:
                return
            if service.hangs:
                self._hub.plan(1.0, deliver)
                return
            try:
                getattr(service, command)(*arguments, **named)
            except GraygateError:
                return  # nobody waits for the answer

        if command not in ("status", "play"):
            self._hub.plan(self._dice.uniform(0.5, 8.0), deliver)


def _takes_one(weather: Weather, what: str) -> bool:
    left = getattr(weather, what)
    if left <= 0:
        return False
    setattr(weather, what, left - 1)
    return True


def ns(seconds: float) -> int:
    """Seconds in nanoseconds."""
    return round(seconds * NS_PER_S)
