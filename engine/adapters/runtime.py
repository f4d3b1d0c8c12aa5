"""The service between its doors: what the control socket and HTTP may see and do."""

import asyncio
import json
import logging
import math
import resource
import uuid
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from engine.adapters.control import Command
from engine.adapters.exporter import Tally, resident_bytes
from engine.adapters.feeds import Feed
from engine.adapters.live.feed import LiveFeed
from engine.adapters.safety import UNSOUND, Safety
from engine.adapters.window_log import WindowLog
from engine.clock import NS_PER_MS, NS_PER_S, Clock
from engine.errors import ConfigError, ModuleError, RefusedError
from engine.strategy.events import TICK_NS, EventBatch, Slice
from engine.strategy.host import Deployment, Host
from engine.strategy.records import WindowRecord

logger = logging.getLogger(__name__)


LEAP_NS = 5 * NS_PER_S
"""A live market's clock that moves on by more at once was not listened to: the host slept, or the process stood."""

DURATIONS_KEPT = 1_000


class Runtime:
    """Host and window log of one running service. `feed` is the market it plays, None if it listens to a live one."""

    def __init__(
        self, host: Host, feed: Feed | None, log: WindowLog, clock: Clock, switched_off: bool, safety: Safety
    ) -> None:
        self.host = host
        self.log = log
        self.safety = safety
        self.boot = uuid.uuid4().hex
        self.end_ns = feed.end_ns if feed is not None else None
        self.horizon_ns = feed.start_ns if feed is not None else 0
        self.moved = asyncio.Event()
        self.exhausted = False
        self.alerts = safety.alerts
        self.failed_updates: Counter[str] = Counter()
        self.live: LiveFeed | None = None
        self.update_ms: list[float] = []
        self._recent_ms: deque[float] = deque(maxlen=DURATIONS_KEPT)
        self._clock = clock
        self._switched_off = switched_off
        self._asked = self._carried_out = 0

    def consume(self, piece: Slice) -> None:
        """Fold one slice and log what it closed and switched."""
        self._note(self.host.consume(piece))

    def hear(self, batches: Mapping[str, EventBatch]) -> None:
        """Fold events of a live market as they arrive."""
        arrived_ns = max((int(batch.events["arrival_ns"][-1]) for batch in batches.values()), default=0)
        self._fold_up_to(arrived_ns, lambda: self.host.hear(batches))

    def tick(self, clock_ns: int) -> None:
        """Let a live market's time come to a tick; it never runs backwards."""
        if clock_ns > self.host.clock_ns:
            before_ns = self.host.clock_ns or clock_ns - TICK_NS
            self._fold_up_to(clock_ns, lambda: self.host.consume(Slice(before_ns, clock_ns, {})))

    def _fold_up_to(self, at_ns: int, fold: Callable[[], list[WindowRecord]]) -> None:
        """Fold; windows that overlap a leap of the market's clock do not count as measured."""
        is_leap = 0 < self.host.clock_ns < at_ns - LEAP_NS
        records = fold()
        if is_leap:
            for record in records:
                record.fingerprint = None
            self.host.disregard_running_windows()
        self._note(records)

    def _note(self, records: list[WindowRecord]) -> None:
        for record in records:
            try:
                self.log.add(record)
            except ValueError:
                self.alerts[UNSOUND] += 1
        for symbol, arm, transition, changes in self.host.take_transitions():
            event = asdict(transition) | {"event": "mode_changed", "symbol": symbol, "arm": arm, "changes": changes}
            logger.info(json.dumps(event, sort_keys=True))

    def tally(self) -> Tally:
        """What was counted since the start, and how it stands with safety."""
        events, refused = self.live.tally() if self.live is not None else ({}, {})
        alerts = self.alerts | {"windows_overwritten": self.log.overwritten}
        latch = self.safety.latch
        return Tally(
            self.log.count, alerts, self.failed_updates, events, refused, self.safety.trips, self.safety.age_s(),
            latch.cause if latch is not None else None, latch.swap_ms if latch is not None else math.nan,
        )  # fmt: skip

    def commands(self) -> dict[str, Command]:
        """What the control socket understands."""
        return {
            "status": self._status, "play": self._play, "apply": self._apply, "roll_back": self._roll_back,
            "renew": self._renew, "kill": self._kill, "rearm": self._rearm,
        }  # fmt: skip

    async def _status(self, _: dict[str, Any]) -> dict[str, Any]:
        self.safety.check_lease()
        return self.status()

    def status(self) -> dict[str, Any]:
        """Where the service stands; `live` is read from the arms that produce the signals."""
        return {
            "boot": self.boot,
            "clock_ns": self.host.clock_ns,
            "horizon_ns": self.horizon_ns,
            "end_ns": self.end_ns,
            "exhausted": self.exhausted,
            "epoch": self.host.epoch,
            "stage": self.host.stage,
            "live": self.host.live_fingerprints(),
            "stable": self.host.stable_fingerprint,
            **self.safety.status(),
            "health": self._health(),
        }

    def _health(self) -> dict[str, Any]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        recent = sorted(self._recent_ms)
        return {
            "rss_mb": resident_bytes() / 2**20,
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "update_p99_ms": recent[math.ceil(0.99 * len(recent)) - 1] if recent else None,
            "alerts": dict(self.tally().alerts),
            "loop_lag_ms": self.safety.loop_lag_ms,
            "slowest_symbol_ns": self.host.slowest_symbol_ns(),
        }

    async def _play(self, request: dict[str, Any]) -> dict[str, Any]:
        """Let the market run up to `until_ns`; it never runs backwards."""
        until_ns = int(request["until_ns"])
        if self.end_ns is None:
            raise RefusedError("a live market cannot be played: its time passes by itself")
        if until_ns > self.end_ns:
            raise RefusedError("the feed ends before the market time that was asked for")
        self.horizon_ns = max(self.horizon_ns, until_ns)
        self.moved.set()
        return self.status()

    async def _apply(self, request: dict[str, Any]) -> dict[str, Any]:
        """Read the parameters in a thread, then put them in force on the loop, unless a later request came first."""
        if self._switched_off:
            raise RefusedError("the service was started with DYNAMIC_MODE_ENABLED=false; it serves the baseline only")
        wanted = Deployment(**{**request, "live": tuple(request["live"])})
        self.safety.require_permission(wanted)
        started_ns = self._clock.mono_ns()
        number = self._take_number()
        try:
            candidate = await asyncio.to_thread(self.host.read, wanted)
            if number < self._carried_out:
                raise RefusedError("a later request was carried out while these parameters were read")
            self.safety.apply(wanted, candidate)
        except ConfigError as error:
            self.alerts["update_failed"] += 1
            self.failed_updates[error.module if isinstance(error, ModuleError) else "parameters"] += 1
            raise
        return await self._carried(number, started_ns)

    async def _roll_back(self, request: dict[str, Any]) -> dict[str, Any]:
        return await self._at_once(partial(self.host.roll_back, request.get("symbols"), int(request["epoch"])))

    async def _kill(self, request: dict[str, Any]) -> dict[str, Any]:
        return await self._at_once(partial(self.host.kill, request.get("symbols"), int(request["epoch"])))

    async def _at_once(self, lower: Callable[[], None]) -> dict[str, Any]:
        started_ns = self._clock.mono_ns()
        number = self._take_number()
        lower()
        return await self._carried(number, started_ns)

    async def _carried(self, number: int, started_ns: int) -> dict[str, Any]:
        """Note how long a change of what is live took; answer once it survives a restart."""
        self._carried_out = number
        took_ms = (self._clock.mono_ns() - started_ns) / NS_PER_MS
        self.update_ms.append(took_ms)
        self._recent_ms.append(took_ms)
        await self.safety.keep()
        return self.status()

    async def _renew(self, request: dict[str, Any]) -> dict[str, Any]:
        self.safety.renew(int(request["epoch"]))
        await self.safety.keep()
        return self.status()

    async def _rearm(self, request: dict[str, Any]) -> dict[str, Any]:
        self.safety.rearm(int(request["epoch"]))
        self._carried_out = self._take_number()
        await self.safety.keep()
        return self.status()

    def _take_number(self) -> int:
        """Number of a request that changes what is live. They are carried out in the order they came, or refused."""
        self._asked += 1
        return self._asked
