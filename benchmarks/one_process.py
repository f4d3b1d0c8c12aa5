"""The real service, guardian and journal in one process, on a clock that only moves when told.

Commands go through the control door's own code, as lines of JSON, without the socket. Every command, and
the moment between reading parameters and putting them in force, can be made to go wrong.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.loader import load_guardrails
from engine.adapters import control
from engine.adapters.control_client import ControlledService
from engine.adapters.processes import BASELINE_SWITCHES
from engine.adapters.runtime import Runtime
from engine.adapters.safety import Rules, Safety
from engine.adapters.standing import StandingFiles
from engine.adapters.window_log import WindowLog
from engine.clock import NS_PER_S, FakeClock
from engine.errors import RefusedError, ServiceError
from engine.rollout.spec import RolloutSpec
from engine.serve import pinned_by_environment
from engine.strategy.caps import Caps
from engine.strategy.events import BookTop, EventBatch, Instrument, Slice, Trade
from engine.strategy.host import Candidate, Deployment, Host
from engine.strategy.params import parse_params
from engine.strategy.records import Measurement, WindowRecord

TTL_S = 20.0
MEASUREMENT = Measurement(1, 250, (1_000,))
FAR_NS = 10**19 // 2


@dataclass(frozen=True)
class Horizon:
    """The part of a feed that a runtime looks at: a market that need not move unless it is played."""

    start_ns: int
    end_ns: int = FAR_NS


def nothing(number: int, command: str) -> None:
    """What happens around a command where nothing goes wrong."""


def as_it_is(wanted: Deployment, candidate: Candidate) -> Candidate:
    """What becomes of parameters that were read where nothing goes wrong."""
    return candidate


class Door:
    """One service process after another behind one control door. `runtime` is None while no process runs.

    `before` and `after` are called around each command with its number and name and may raise; `between` gets what
    was read for a deployment, in the thread that read it; `seen` is called after each command.
    """

    def __init__(self, state: Path, spec: RolloutSpec, caps: Caps, clock: FakeClock) -> None:
        self.runtime: Runtime | None = None
        self.count = 0
        self.before = self.after = nothing
        self.between = as_it_is
        self.seen: Callable[[], None] = lambda: None
        self.prepare_files: Callable[[StandingFiles], None] = lambda files: None
        self._state, self._spec, self._caps, self._clock = state, spec, caps, clock
        self._loop = asyncio.new_event_loop()
        state.mkdir(parents=True)
        self.boot(switched_off=False)

    def boot(self, *, switched_off: bool) -> None:
        """Start a process, as `engine/serve.py` assembles it, over what the one before left in its directory."""
        baseline = self._spec.baseline
        switches = BASELINE_SWITCHES if switched_off else {}
        stable = pinned_by_environment(parse_params(baseline.params, baseline.fingerprint), switches)
        host = Host([Instrument(symbol) for symbol in self._spec.all_symbols], MEASUREMENT, stable, self._caps)
        files = StandingFiles(self._state)
        self.prepare_files(files)
        rules = Rules(self._caps, load_guardrails(), TTL_S)
        safety = Safety(host, rules, files, self._clock, is_market_live=False)
        safety.boot(switched_off=switched_off)
        log = WindowLog(self._state / "undelivered.jsonl", MEASUREMENT)
        self.runtime = Runtime(host, Horizon(self._clock.now_ns()), log, self._clock, switched_off, safety)  # type: ignore[arg-type]
        read = host.read
        host.read = lambda wanted: self.between(wanted, read(wanted))  # type: ignore[method-assign]
        self.consume(2)

    def die(self) -> None:
        """SIGKILL: only what is in the state directory is left."""
        self.runtime = None

    def close(self) -> None:
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def call(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send one command and return its answer, as `ControlClient.call`."""
        self.count += 1
        number = self.count
        self.before(number, command)
        try:
            answer = self._loop.run_until_complete(self._run(command, arguments))
        finally:
            self.seen()
        self.after(number, command)
        return require_ok(command, answer)

    def interleave(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send a command from the thread that reads parameters, and wait for its answer."""
        running = asyncio.run_coroutine_threadsafe(self._run(command, arguments), self._loop)
        return running.result(10)

    async def _run(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if self.runtime is None:
            raise ServiceError(f"no process answers {command}")
        line = json.dumps({"command": command, **arguments}).encode()
        try:
            return await control._run(line, self.runtime.commands())
        except Exception as error:
            raise ServiceError(f"the service does not answer {command} ({error})") from error

    def guard(self) -> None:
        """One turn of the service's own guard loop."""
        if self.runtime is not None:
            self.runtime.safety.check()
            self._loop.run_until_complete(self.runtime.safety.keep())
            self.seen()

    def consume(self, seconds: int) -> list[WindowRecord]:
        """Let every symbol hear a quote and a trade each second, up to the next whole ones; return what closed last."""
        assert self.runtime is not None
        host, closed = self.runtime.host, list[WindowRecord]()
        for _ in range(seconds):
            from_ns = host.clock_ns or self._clock.now_ns() // NS_PER_S * NS_PER_S
            events = EventBatch.of(
                [BookTop(from_ns + 10**6, 99.0, 1.0, 101.0, 2.0), Trade(from_ns + 2 * 10**6, 100.0, 1.0, 1)]
            )
            closed = host.consume(Slice(from_ns, from_ns + NS_PER_S, dict.fromkeys(host.symbols, events)))
        return closed


def require_ok(command: str, answer: dict[str, Any]) -> dict[str, Any]:
    """An answer of the control door as its client sees it. Raises RefusedError, ServiceError."""
    if answer["ok"]:
        return answer
    raise RefusedError(answer["error"]) if answer["refused"] else ServiceError(f"{command}: {answer['error']}")


class Steered(ControlledService):
    """The service's commands as methods, over a door of this process."""

    def __init__(self, door: Door) -> None:
        self._control = door  # type: ignore[assignment]


class Restarter:
    """Starts and stops the process behind the door."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def is_alive(self) -> bool:
        return self._door.runtime is not None

    def restart(self, *, on_baseline: bool) -> None:
        self._door.die()
        self._door.boot(switched_off=on_baseline)

    def stop(self) -> None:
        self._door.die()


class NobodyWalks:
    """There is no flow, and none is wanted."""

    def is_working(self) -> bool:
        return True

    def start(self) -> None:
        raise AssertionError("no stand-in is wanted here")
