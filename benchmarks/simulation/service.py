"""A model of the signal service for simulated time: lease, latch, epochs and what is live, as the real one has them.

`tests/stories/test_service.py` holds the real service to the same rules.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from engine.clock import NS_PER_S, FakeClock
from engine.errors import RefusedError, ServiceError

TTL_S = 20.0


class Effect(NamedTuple):
    """Something a command did: `seen` is the highest epoch the service had heard of before."""

    kind: str
    epoch: int
    seen: int
    stage: str
    fingerprint: str
    symbols: frozenset[str]
    before: frozenset[str]
    after: frozenset[str]


@dataclass
class Kept:
    """What survives a restart."""

    epoch: int = 0
    latch: dict[str, Any] | None = None
    killed: frozenset[str] = frozenset()
    deployment: tuple[str, frozenset[str], int] | None = None
    lease: tuple[int, str, int] | None = None


@dataclass
class ModelService:
    """One service process after another. `faults` are commands that fail next: {command: what}, see `_meet`."""

    clock: FakeClock
    symbols: tuple[str, ...]
    stable: str
    kept: Kept = field(default_factory=Kept)
    is_running: bool = True
    hangs: bool = False
    switched_off: bool = False
    market_offset_ns: int = 0
    horizon_ns: int | None = None
    boots: int = 1
    fingerprint: str = ""
    live: frozenset[str] = frozenset()
    alerts: dict[str, int] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    is_live_market: bool = False
    flat_after_ns: int = 0
    flat_from_ns: int = 0
    on_effect: Callable[[Effect], None] = lambda effect: None

    def market_ns(self) -> int:
        """The market clock; a market that is played stops at its horizon."""
        now_ns = self.clock.elapsed_ns + self.market_offset_ns
        return now_ns if self.horizon_ns is None else min(now_ns, self.horizon_ns)

    def guard(self) -> None:
        """The service's own guard loop: the dead-man switch."""
        if self.is_running and self.live and self._age_s() > TTL_S:
            self.trip("lease", f"no lease for {self._age_s():.1f} s")

    def trip(self, cause: str, reason: str) -> None:
        """Put the baseline back by itself and latch."""
        before, self.live = self.live, frozenset()
        self.kept.latch = {"cause": cause, "reason": reason, "at_ns": self.market_ns(), "epoch": self.kept.epoch,
                           "swap_ms": 0.1}  # fmt: skip
        self._tell("trip", self.kept.epoch, self.kept.epoch, before)

    def die(self) -> None:
        """The process is gone; what it had in memory as well."""
        self.is_running, self.hangs, self.live, self.alerts = False, False, frozenset(), {}

    def boot(self, *, switched_off: bool) -> None:
        """A new process: on the baseline, unless a live lease of the deployment's epoch says otherwise."""
        self.is_running, self.hangs, self.switched_off = True, False, switched_off
        self.boots += 1
        self.live, self.alerts = frozenset(), {}
        kept = self.kept
        if kept.deployment is None or kept.latch is not None or switched_off:
            return
        fingerprint, live, epoch = kept.deployment
        if self._lease_is_live() and epoch == kept.epoch:
            self.fingerprint, self.live = fingerprint, live - kept.killed
            self._tell("boot", epoch, kept.epoch, frozenset())

    def status(self) -> dict[str, Any]:
        self._meet("status")
        return self._status()

    def play(self, until_ns: int) -> None:
        self._meet("play")
        if self.is_live_market:
            return
        self.horizon_ns = max(self.horizon_ns or 0, until_ns)

    def renew(self, epoch: int) -> dict[str, Any]:
        self._meet("renew")
        self._check_epoch(epoch)
        self.guard()
        self.kept.lease = (epoch, self.clock.boot_id(), self.clock.mono_ns())
        self.kept.epoch = epoch
        return self._status()

    def apply(self, **wanted: Any) -> dict[str, Any]:
        fault = self._meet("apply")
        self._check_epoch(wanted["epoch"])
        self.guard()
        if self.switched_off:
            raise RefusedError("the service was started with DYNAMIC_MODE_ENABLED=false; it serves the baseline only")
        if not self._lease_is_live() or (self.kept.lease or (0,))[0] != wanted["epoch"]:
            raise RefusedError("no live lease of this epoch")
        if self.kept.latch is not None or self.kept.killed & set(wanted["live"]):
            raise RefusedError("latched or killed; graygate rearm")
        if fault == "refuse":
            raise RefusedError("a module refuses the parameters")
        seen, before, self.kept.epoch = self.kept.epoch, self.live, wanted["epoch"]
        self.fingerprint, self.live = wanted["fingerprint"], frozenset(wanted["live"])
        self.kept.deployment = (self.fingerprint, self.live, wanted["epoch"])
        self._tell("apply", wanted["epoch"], seen, before, wanted["stage"], frozenset(wanted["live"]))
        if fault == "lost answer":
            raise ServiceError("the connection broke before the answer")
        return self._status()

    def roll_back(self, epoch: int, symbols: list[str] | None = None) -> dict[str, Any]:
        fault = self._meet("roll_back")
        self._check_epoch(epoch)
        seen, before, self.kept.epoch = self.kept.epoch, self.live, epoch
        if fault != "ignore":
            self._lower(symbols)
        self._tell("roll_back", epoch, seen, before, symbols=frozenset(symbols or ()))
        return self._status()

    def kill(self, epoch: int, symbols: list[str] | None = None) -> dict[str, Any]:
        self._meet("kill")
        self._check_epoch(epoch)
        seen, before, self.kept.epoch = self.kept.epoch, self.live, epoch
        self._lower(symbols)
        self.kept.killed |= set(self.symbols if symbols is None else symbols)
        self.flat_from_ns = self.clock.elapsed_ns + self.flat_after_ns
        self._tell("kill", epoch, seen, before, symbols=frozenset(symbols or ()))
        return self._status()

    def rearm(self, epoch: int) -> dict[str, Any]:
        self._meet("rearm")
        self._check_epoch(epoch)
        if self.kept.latch is not None and epoch <= self.kept.latch["epoch"]:
            raise RefusedError("re-arming needs a newer epoch")
        seen = self.kept.epoch
        self.kept.epoch, self.kept.latch, self.kept.killed = epoch, None, frozenset()
        self._tell("rearm", epoch, seen, self.live)
        return self._status()

    def lease_ends_ns(self) -> int | None:
        """When the lease runs out, as `clock.elapsed_ns`; None if there is none of this boot."""
        if self.kept.lease is None or self.kept.lease[1] != self.clock.boot_id():
            return None
        return self.clock.earlier_ns + self.kept.lease[2] + round(TTL_S * NS_PER_S)

    def live_fingerprints(self) -> dict[str, str]:
        """What the signal path of every symbol runs."""
        return {symbol: self.fingerprint if symbol in self.live else self.stable for symbol in self.symbols}

    def _tell(
        self, kind: str, epoch: int, seen: int, before: frozenset[str], stage: str = "",
        symbols: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        self.on_effect(Effect(kind, epoch, seen, stage, self.fingerprint, symbols, before, self.live))

    def _lower(self, symbols: list[str] | None) -> None:
        self.live = frozenset() if symbols is None else self.live - set(symbols)
        if self.kept.deployment is not None:
            fingerprint, _, epoch = self.kept.deployment
            self.kept.deployment = (fingerprint, self.live, epoch)

    def _meet(self, command: str) -> str:
        """Raise ServiceError where nobody answers, die where the fault says so; return what is left of the fault."""
        if not self.is_running or self.hangs:
            raise ServiceError(f"the service does not answer {command}")
        self.guard()
        fault = self.faults.pop(command, "")
        if fault == "die":
            self.die()
        if fault in ("die", "no answer"):
            raise ServiceError(f"the service does not answer {command}")
        return fault

    def _check_epoch(self, epoch: int) -> None:
        if epoch < self.kept.epoch:
            raise RefusedError(f"epoch {epoch} is older than {self.kept.epoch}")

    def _age_s(self) -> float:
        if self.kept.lease is None or self.kept.lease[1] != self.clock.boot_id():
            return float("inf")
        return (self.clock.mono_ns() - self.kept.lease[2]) / NS_PER_S

    def _lease_is_live(self) -> bool:
        return self.kept.lease is not None and self.kept.lease[0] == self.kept.epoch and self._age_s() <= TTL_S

    def _status(self) -> dict[str, Any]:
        at_ns = self.market_ns()
        return {
            "boot": f"boot-{self.boots}", "clock_ns": at_ns, "horizon_ns": self.horizon_ns or 0, "end_ns": None,
            "epoch": self.kept.epoch, "stable": self.stable, "latch": self.kept.latch,
            "flat": self.clock.elapsed_ns >= self.flat_from_ns, "live": self.live_fingerprints(),
            "killed": sorted(self.kept.killed),
            "lease": {"epoch": self.kept.epoch, "age_s": self._age_s(), "ttl_s": TTL_S,
                      "is_live": self._lease_is_live()},
            "health": {"rss_mb": 200.0, "cpu_s": 1.0, "update_p99_ms": 1.0, "alerts": dict(self.alerts),
                       "loop_lag_ms": 0.1, "slowest_symbol_ns": at_ns},
        }  # fmt: skip
