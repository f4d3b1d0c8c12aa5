"""What the service does by itself to lower exposure, with everything else dead: lease, guardrails, latch.

The baseline is put back in memory first; writing that down comes after, and may fail.
"""

import asyncio
import json
import logging
import math
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import Any

from engine.adapters.standing import DamagedStateError, Latch, Lease, Standing, StandingFiles
from engine.clock import NS_PER_MS, NS_PER_S, Clock
from engine.errors import ConfigError, RefusedError
from engine.strategy.caps import Caps
from engine.strategy.guardrails import CAUSES, LEASE, STATE, Breach, GuardrailLimits, Readings, breach
from engine.strategy.host import Candidate, Deployment, Host

logger = logging.getLogger(__name__)

GUARD_MS = 250
UNSOUND, NOT_WRITTEN = "unsound_output", "state_not_written"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a live candidate is held to. `ttl_s`: how long it stays live after the last renewal of the lease."""

    caps: Caps
    limits: GuardrailLimits
    ttl_s: float


class Safety:
    """Guards one host. `alerts` counts what must never happen, by kind; `trips` what was put back, by cause."""

    def __init__(self, host: Host, rules: Rules, files: StandingFiles, clock: Clock, *, is_market_live: bool) -> None:
        self.alerts = Counter({"update_failed": 0, UNSOUND: 0, NOT_WRITTEN: 0})
        self.trips = Counter(dict.fromkeys(CAUSES, 0))
        self.latch: Latch | None = None
        self.loop_lag_ms = 0.0
        self._host = host
        self._rules = rules
        self._files = files
        self._clock = clock
        self._boot_id = clock.boot_id()
        self._is_market_live = is_market_live
        self._lease: Lease | None = None
        self._deployed: Deployment | None = None
        self._written: tuple[Standing, Lease | None] | None = None
        self._writing = asyncio.Lock()
        self._heard = (0, clock.mono_ns())
        self._unsound_before = 0
        self._is_disk_failing = False
        self._background: asyncio.Future[None] | None = None

    def boot(self, *, switched_off: bool) -> None:
        """Start on the baseline, or with the last deployment where a live lease of its epoch asks for it."""
        lease = self._files.read_lease()
        try:
            standing = self._files.read()
        except DamagedStateError as error:
            self._host.take_epoch(lease.epoch if lease is not None else 0)
            self._latch(Breach(STATE, str(error)), 0.0)
        else:
            self._resume(standing, lease, switched_off=switched_off)
        self._write(self.standing())

    def _resume(self, standing: Standing, lease: Lease | None, *, switched_off: bool) -> None:
        served = set(self._host.symbols)
        for symbol, epoch in sorted(standing.killed.items(), key=lambda item: item[1]):
            if symbol in served:
                self._host.kill([symbol], epoch)
        self._host.take_epoch(standing.epoch)
        self.latch = standing.latch
        gone = sorted(standing.killed.keys() - served)
        if gone:
            self._latch(Breach(STATE, f"{gone[0]} was killed before the restart and is not served any more"), 0.0)
        self._lease = lease if lease is not None and lease.boot_id == self._boot_id else None
        wanted = standing.deployment
        if wanted is None or self.latch is not None or switched_off:
            return
        if wanted.epoch == standing.epoch and self.has_lease():
            try:
                self._host.apply(wanted)
                self._deployed = wanted
            except (ConfigError, RefusedError) as error:
                self._latch(Breach(STATE, f"the last deployment cannot be put back in force: {error}"), 0.0)

    def age_s(self) -> float:
        """Time since the last renewal; infinite if there was none since this boot."""
        if self._lease is None or self._clock.mono_ns() < self._lease.mono_ns:
            return math.inf
        return (self._clock.mono_ns() - self._lease.mono_ns) / NS_PER_S

    def has_lease(self) -> bool:
        """Whether the lease is of the highest epoch and not older than its time to live."""
        is_current = self._lease is not None and self._lease.epoch == self._host.epoch
        return is_current and self.age_s() <= self._rules.ttl_s

    def renew(self, epoch: int) -> None:
        """Renew the lease. One that ran out under a live candidate has its consequence first. Raises RefusedError."""
        self.check_lease()
        self._host.take_epoch(epoch)
        self._lease = Lease(epoch, self._boot_id, self._clock.mono_ns())

    def require_permission(self, wanted: Deployment) -> None:
        """Raise RefusedError unless this may go live now."""
        self.check_lease()
        self._host.require_servable(wanted)
        if self.latch is not None:
            said = f"the service put the baseline back by itself ({self.latch.reason})"
            raise RefusedError(f"{said}; graygate rearm allows a candidate again")
        if not self.has_lease() or self._lease is None or self._lease.epoch != wanted.epoch:
            raise RefusedError(f"no live lease of epoch {wanted.epoch}: nothing goes live unless a guardian watches it")

    def apply(self, wanted: Deployment, candidate: Candidate) -> None:
        """Put a deployment in force. Raises ConfigError or RefusedError with nothing changed."""
        self.require_permission(wanted)
        self._host.apply(wanted, candidate)
        self._deployed = wanted

    def rearm(self, epoch: int) -> None:
        """Forget latch and kills. Raises RefusedError unless the epoch is above theirs."""
        before = max([*self._host.killed.values(), self.latch.epoch if self.latch is not None else -1], default=-1)
        if epoch <= before:
            raise RefusedError(f"re-arming needs an epoch above {before}, in which the service stopped; was {epoch}")
        self._host.rearm(epoch)
        self.latch = None

    def check_lease(self) -> None:
        """The dead-man switch: a candidate that nobody vouches for any more is taken back."""
        if self._host.exposed() and not self.age_s() <= self._rules.ttl_s:
            self._trip(Breach(LEASE, f"no lease for {self.age_s():.1f} s, it holds for {self._rules.ttl_s:g} s"))

    def check(self) -> None:
        """Look at lease and guardrails; what is broken puts the baseline back on every symbol."""
        self.check_lease()
        readings = self._read()
        if self._host.exposed():
            broken = breach(readings, self._rules.limits, self._rules.caps)
            if broken is not None:
                self._trip(broken)
        else:
            self._unsound_before = self.alerts[UNSOUND]

    def _read(self) -> Readings:
        newest_ns, now_ns = self._host.newest_event_ns(), self._clock.mono_ns()
        if newest_ns != self._heard[0]:
            self._heard = (newest_ns, now_ns)
        # A played market has no time but its own: it may have to wait for somebody to let it go on.
        silent_ns = now_ns - self._heard[1] if self._is_market_live else self._host.clock_ns - newest_ns
        unsound = self.alerts[UNSOUND] - self._unsound_before
        return Readings(self._host.live_canaries(), silent_ns / NS_PER_S, self.loop_lag_ms, unsound)

    def _trip(self, broken: Breach) -> None:
        noticed_ns = self._clock.mono_ns()
        self._host.stand_down()
        self._latch(broken, (self._clock.mono_ns() - noticed_ns) / NS_PER_MS)

    def _latch(self, broken: Breach, swap_ms: float) -> None:
        self.latch = Latch(broken.cause, broken.reason, self._host.clock_ns, self._host.epoch, swap_ms)
        self.trips[broken.cause] += 1
        self.alerts[f"guardrail_{broken.cause}"] += 1
        logger.critical(json.dumps({"event": "baseline_latched", **asdict(self.latch)}, sort_keys=True))

    async def guard(self) -> None:
        """Check every 250 ms, for ever. Nothing here waits for a disk."""
        while True:
            due_ns = self._clock.mono_ns() + GUARD_MS * NS_PER_MS
            await asyncio.sleep(GUARD_MS / 1_000)
            self.loop_lag_ms = max(0.0, (self._clock.mono_ns() - due_ns) / NS_PER_MS)
            self.check()
            if not self._writing.locked():
                self._background = asyncio.ensure_future(self.keep())

    def standing(self) -> Standing:
        """What a restart has to know. What is deployed is what the signal path runs."""
        exposed = self._host.exposed()
        deployed = replace(self._deployed, live=exposed) if self._deployed is not None and exposed else None
        return Standing(self._host.epoch, self.latch, dict(self._host.killed), deployed)

    async def keep(self) -> None:
        """Return once what is in force survives a restart, or could not be written."""
        async with self._writing:
            standing, lease = self.standing(), self._lease
            if (standing, lease) != self._written:
                await asyncio.to_thread(self._write, standing, lease)

    def _write(self, standing: Standing, lease: Lease | None = None) -> None:
        """Write the standing, then the lease: without the first, a restart must not find the second."""
        try:
            if self._written is None or self._written[0] != standing:
                self._files.write(standing)
            if lease is not None:
                self._files.write_lease(lease)
            self._written, self._is_disk_failing = (standing, lease), False
        except OSError as error:
            self._written = None
            self._note_not_written(error)

    def _note_not_written(self, error: OSError) -> None:
        if not self._is_disk_failing:
            self.alerts[NOT_WRITTEN] += 1
            logger.critical(json.dumps({"event": NOT_WRITTEN, "error": str(error)}))
        self._is_disk_failing = True
        try:
            self._files.drop_lease()
        except OSError:
            logger.exception("the lease stays on a disk that cannot be written; it runs out by itself")

    def status(self) -> dict[str, Any]:
        """The part of the service's status that concerns safety."""
        age_s = self.age_s()
        return {
            "lease": {
                "epoch": self._lease.epoch if self._lease is not None else 0,
                "age_s": age_s if math.isfinite(age_s) else None,
                "ttl_s": self._rules.ttl_s,
                "is_live": self.has_lease(),
            },
            "latch": asdict(self.latch) if self.latch is not None else None,
            "killed": sorted(self._host.killed),
            "flat": self._host.is_flat(),
        }
