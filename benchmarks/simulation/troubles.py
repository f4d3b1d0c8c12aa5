"""Troubles of the service, the network, the disk and of time; see `faults.py`.

Each method begins one and returns for how many seconds it lasts.
"""

import errno
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.simulation.crew import DISK_BYTES, JOURNAL
from benchmarks.simulation.hub import Process
from benchmarks.simulation.world import World
from engine.clock import NS_PER_S

BALLAST = Path("/rollout/ballast")


class TroubledWorld(World):
    """A world that can be troubled."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.chance = Random(f"{self.seed}/faults")
        self.sync_errors = self.short_writes = 0
        self.disk.fault = self._on_disk

    def end_faults(self) -> None:
        self.weather.cut_off.clear()
        self.weather.drops = self.weather.losses = self.weather.delays = 0
        self.service.faults.clear()
        self.sync_errors = self.short_writes = 0
        self.supervisor.failures = self.supervisor.deaths = 0
        self._make_room()
        self.service.hangs, self.service.horizon_ns = False, None
        for process in self.hub.processes:
            process.thaws_ns = 0
        self.hub.change()

    def _victims(self, *kinds: str) -> list[Process]:
        return [process for process in self.hub.processes if process.kind in kinds]

    def _kill_service(self) -> float:
        self.supervisor.kill()
        return 0.0

    def _hang(self) -> float:
        seconds = self.chance.uniform(0.5, 120)
        self.service.hangs = True
        boots = self.service.boots

        def go_on() -> None:
            if self.service.boots == boots:
                self.service.hangs, self.resumed_ns = False, self.hub.now_ns()
                self.hub.change()

        self.hub.plan(seconds, go_on)
        return seconds

    def _fail_next(self, command: str, how: str) -> float:
        self.service.faults[command] = how
        return 0.0

    def _refuse_apply(self) -> float:
        return self._fail_next("apply", "refuse")

    def _lose_apply(self) -> float:
        return self._fail_next("apply", "lost answer")

    def _ignore_rollback(self) -> float:
        return self._fail_next("roll_back", "ignore")

    def _die_in_command(self) -> float:
        return self._fail_next(self.chance.choice(("apply", "roll_back", "renew", "kill", "status", "rearm")), "die")

    def _restart_fails(self) -> float:
        self.supervisor.failures = self.chance.randint(1, 4)
        return self._hang() if self.chance.random() < 0.5 else self._kill_service()

    def _guardrail(self) -> float:
        if self.service.is_running and self.service.live:
            self.service.trip("loss", "lost too much")
            self.hub.change()
        return 0.0

    def _alert(self) -> float:
        self.service.alerts["unsound_output"] = self.service.alerts.get("unsound_output", 0) + 1
        self.hub.change()
        return 0.0

    def _market_stands(self) -> float:
        seconds = self.chance.uniform(0.5, 60)
        self.service.horizon_ns = self.service.market_ns()
        self.hub.plan(seconds, lambda: setattr(self.service, "horizon_ns", None))
        return seconds

    # The network

    def _drop(self) -> float:
        self.weather.drops += self.chance.randint(1, 3)
        return 5.0

    def _lost_answer(self) -> float:
        self.weather.losses += self.chance.randint(1, 3)
        return 5.0

    def _late_command(self) -> float:
        self.weather.delays += self.chance.randint(1, 3)
        return 15.0

    def _cut_off(self, who: str) -> float:
        seconds = self.chance.uniform(0.5, 120)
        self.weather.cut_off.add(who)
        self.hub.plan(seconds, lambda: self._reconnect(who))
        return seconds

    def _reconnect(self, who: str) -> None:
        self.weather.cut_off.discard(who)
        self.hub.change()

    def _partition_guardian(self) -> float:
        return self._cut_off("guardian")

    def _partition_flow(self) -> float:
        return self._cut_off("flow")

    # The disk

    def _disk_full(self) -> float:
        """Less than a record is left."""
        seconds = self.chance.uniform(5, 600)
        used = sum(self.disk.stat(JOURNAL.parent / name).size for name in self.disk.list(JOURNAL.parent))  # type: ignore[union-attr]
        self.disk.allocate(BALLAST, max(0, DISK_BYTES - used - self.chance.randint(0, 200)))
        self.hub.plan(seconds, self._make_room)
        return seconds

    def _make_room(self) -> None:
        if self.disk.stat(BALLAST) is not None:
            self.disk.remove(BALLAST)
            self.hub.change()

    def _sync_error(self) -> float:
        self.sync_errors = 1
        return 5.0

    def _short_write(self) -> float:
        self.short_writes = 1
        return 0.0

    def _on_disk(self, operation: str, path: Path) -> int | None:
        if self.hub.current is None:
            return None
        if operation == "sync" and self.sync_errors:
            self.sync_errors -= 1
            raise OSError(errno.EIO, "Input/output error", str(path))
        if operation == "append" and self.short_writes:
            self.short_writes -= 1
            return self.chance.randint(0, 100)
        return None

    # Time

    def _wall_jump(self) -> float:
        self.clock.jump_wall(self.chance.uniform(-3 * 86_400, 3 * 86_400))
        return 0.0

    def _summer_time(self) -> float:
        self.clock.jump_wall(self.chance.choice((-3600, 3600)))
        return 0.0

    def _suspend(self) -> float:
        self.clock.suspend(self.chance.choice((1, 10, 30, 3600, 86_400)) * self.chance.uniform(0.5, 3))
        self.resumed_ns = self.hub.now_ns()
        return 1.0

    def _freeze(self, kind: str, most_s: float) -> float:
        seconds = self.chance.uniform(0.5, most_s)
        for process in self._victims(kind):
            process.thaws_ns = self.hub.now_ns() + round(seconds * NS_PER_S)
        return seconds

    def _holds_a_lock(self) -> bool:
        return self.shared.is_held or self.supervisor.is_held

    def _freeze_guardian(self) -> float:
        return self._freeze("guardian", 120)

    def _freeze_flow(self) -> float:
        """A flow that stops with a lock stops others as well."""
        seconds = self._freeze("flow", 7200)
        return seconds if self._holds_a_lock() else 0.0

    def _second_guardian(self) -> float:
        """The first is stopped, loses its lock, and goes on later."""
        seconds = self._freeze("guardian", 300)
        self.hub.plan(self.chance.uniform(0, 5), lambda: None if self.is_ending else self.start_guardian() and None)
        return seconds if self._holds_a_lock() else min(seconds, 6.0)
