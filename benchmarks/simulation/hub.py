"""Processes of one simulated machine: real code on greenlets, switched at every disk operation, command and sleep.

One process runs at a time. What happens next is what comes first in simulated time, then what was
asked for first: nothing depends on the machine that simulates.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from greenlet import GreenletExit, getcurrent, greenlet

from engine.clock import NS_PER_S, FakeClock

BLOCKED = 1 << 62
"""Wakes only when somebody says so."""

PREEMPTED_NS = 200_000
"""How long a process that was interrupted between two operations waits."""


class Killed(BaseException):
    """SIGKILL: the process does nothing more, not even to tidy up."""


@dataclass(eq=False)
class Process:
    """One process. `kill_in` counts operations until it is killed, `pause_in` until another gets its turn."""

    name: str
    kind: str
    greenlet: greenlet
    wake_ns: int
    order: int
    dozes_from_ns: int | None = None
    thaws_ns: int = 0
    kill_in: int | None = None
    pause_in: int = 0
    operations: int = 0
    is_dead: bool = False
    is_blocked: bool = False
    error: BaseException | None = None

    def ready_ns(self) -> int:
        """When it would go on."""
        return max(self.wake_ns, self.thaws_ns)

    def is_busy(self, now_ns: int) -> bool:
        """Whether it is in the middle of something: not polling, not blocked, not stopped."""
        return self.dozes_from_ns is None and self.wake_ns != BLOCKED and self.thaws_ns <= now_ns


@dataclass(order=True)
class Planned:
    """Something that happens to the world at a time."""

    at_ns: int
    order: int
    happen: Callable[[], None] = field(compare=False)
    is_skippable: bool = field(compare=False, default=False)


class Hub:
    """Runs processes and planned happenings in order of time. All times are `clock.elapsed_ns`."""

    def __init__(self, clock: FakeClock, dice: Random, pause_every: float = 40.0) -> None:
        self.clock = clock
        self.processes: list[Process] = []
        self.planned: list[Planned] = []
        self.changed_ns = 0
        self.on_death: Callable[[Process], None] = lambda process: None
        self._dice = dice
        self._pause_every = pause_every
        self._main = getcurrent()
        self._current: Process | None = None
        self._order = 0

    @property
    def current(self) -> Process | None:
        """The process that runs; None while the world itself does."""
        return self._current

    def now_ns(self) -> int:
        return self.clock.elapsed_ns

    def start(self, name: str, kind: str, work: Callable[[], None]) -> Process:
        """Start a process; it gets its first turn at once, after those who wait already."""
        process = Process(name, kind, greenlet(lambda: self._run(work), self._main), self.now_ns(), self._number())
        process.pause_in = self._draw_pause()
        self.processes.append(process)
        self.change()
        return process

    def plan(self, in_s: float, happen: Callable[[], None]) -> None:
        """Let something happen to the world."""
        heapq.heappush(self.planned, Planned(self.now_ns() + round(in_s * NS_PER_S), self._number(), happen))

    def change(self) -> None:
        """Something happened that those who poll would see at their next look."""
        self.changed_ns = self.now_ns()
        for process in self.processes:
            if process.dozes_from_ns is not None:
                process.wake_ns = min(process.wake_ns, max(self.now_ns(), process.dozes_from_ns))

    def sleep(self, seconds: float, at_most_s: float | None = None) -> None:
        """Let time pass. With `at_most_s`, until something changes, but `seconds` at least."""
        wake_ns = self.now_ns() + round(seconds * NS_PER_S)
        if at_most_s is None:
            self._switch(wake_ns, None)
        else:
            self._switch(self.now_ns() + round(at_most_s * NS_PER_S), wake_ns)

    def operation(self) -> None:
        """Called before each thing a process does to the world: here it may be interrupted or killed."""
        process = self._current
        if process is None:
            return
        if process.is_dead:
            raise Killed
        process.operations += 1
        if process.kill_in is not None:
            process.kill_in -= 1
            if process.kill_in < 0:
                self._bury(process)
                raise Killed
        process.pause_in -= 1
        if process.pause_in < 0:
            process.pause_in = self._draw_pause()
            self._switch(self.now_ns() + self._dice.randrange(PREEMPTED_NS), None)

    def block(self, most_s: float | None = None) -> None:
        """Wait until `unblock`, for `most_s` at most."""
        process = self._current
        assert process is not None, "only processes wait"
        process.is_blocked = True
        self._switch(BLOCKED if most_s is None else self.now_ns() + round(most_s * NS_PER_S), None)
        process.is_blocked = False

    def unblock(self) -> None:
        """Let all who are blocked look again."""
        for process in self.processes:
            if process.is_blocked:
                process.wake_ns = self.now_ns()

    def kill(self, process: Process) -> None:
        """Kill a process where it stands. One that kills itself must raise Killed afterwards."""
        if process.is_dead:
            return
        self._bury(process)
        if process is not self._current and process.greenlet:
            self._enter(process, lambda: process.greenlet.throw(Killed))

    def next_ns(self) -> int:
        """When something happens next."""
        ready = min((process.ready_ns() for process in self.processes), default=BLOCKED)
        return min(ready, self.planned[0].at_ns if self.planned else BLOCKED)

    def turn(self) -> None:
        """Let happen what comes next; the clock must be there already."""
        process = min(self.processes, key=lambda one: (one.ready_ns(), one.order), default=None)
        if self.planned and (process is None or self.planned[0].at_ns <= process.ready_ns()):
            heapq.heappop(self.planned).happen()
        elif process is not None:
            process.order = self._number()
            self._enter(process, process.greenlet.switch)

    def close(self) -> None:
        """End every process: the world is over."""
        for process in list(self.processes):
            self.kill(process)

    def _run(self, work: Callable[[], None]) -> None:
        process = self._current
        assert process is not None
        try:
            work()
        except Killed:
            pass
        except GreenletExit:
            raise
        except BaseException as error:  # noqa: BLE001 - told to the world, which knows what may end a process
            process.error = error
        if not process.is_dead:
            self._bury(process)

    def _bury(self, process: Process) -> None:
        process.is_dead = True
        self.processes.remove(process)
        self.change()
        self.on_death(process)

    def _enter(self, process: Process, switch: Callable[[], object]) -> None:
        before, self._current = self._current, process
        above, process.greenlet.parent = process.greenlet.parent, getcurrent()
        try:
            switch()
        finally:
            self._current = before
            if not process.greenlet.dead:
                process.greenlet.parent = above

    def _switch(self, wake_ns: int, dozes_from_ns: int | None) -> None:
        process = self._current
        assert process is not None, "only processes wait"
        if process.is_dead:
            raise Killed
        process.wake_ns, process.dozes_from_ns = wake_ns, dozes_from_ns
        process.greenlet.parent.switch()
        process.dozes_from_ns = None
        if process.is_dead:
            raise Killed

    def _draw_pause(self) -> int:
        return int(self._dice.expovariate(1 / self._pause_every)) if self._pause_every else 0

    def _number(self) -> int:
        self._order += 1
        return self._order
