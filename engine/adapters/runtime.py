"""The service between its doors: what the control socket and HTTP may see and do."""

import asyncio
import json
import logging
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from engine.adapters.control import Command
from engine.adapters.exporter import Tally
from engine.adapters.feeds import Feed
from engine.adapters.live.feed import LiveFeed
from engine.adapters.window_log import WindowLog
from engine.clock import Clock
from engine.errors import ConfigError, ModuleError, RefusedError
from engine.strategy.events import TICK_NS, EventBatch, Slice
from engine.strategy.host import Deployment, Host
from engine.strategy.records import WindowRecord

logger = logging.getLogger(__name__)


class Runtime:
    """Host and window log of one running service. `feed` is the market it plays, None if it listens to a live one."""

    def __init__(self, host: Host, feed: Feed | None, log: WindowLog, clock: Clock, switched_off: bool) -> None:
        self.host = host
        self.log = log
        self.boot = uuid.uuid4().hex
        self.end_ns = feed.end_ns if feed is not None else None
        self.horizon_ns = feed.start_ns if feed is not None else 0
        self.moved = asyncio.Event()
        self.exhausted = False
        self.alerts = {"update_failed": 0, "unsound_output": 0}
        self.failed_updates: Counter[str] = Counter()
        self.live: LiveFeed | None = None
        self.update_ms: list[float] = []
        self._clock = clock
        self._switched_off = switched_off
        self._asked = self._carried_out = 0

    def consume(self, piece: Slice) -> None:
        """Fold one slice and log what it closed and switched."""
        self._note(self.host.consume(piece))

    def hear(self, batches: Mapping[str, EventBatch]) -> None:
        """Fold events of a live market as they arrive."""
        self._note(self.host.hear(batches))

    def tick(self, clock_ns: int) -> None:
        """Let a live market's time come to a tick; it never runs backwards."""
        if clock_ns > self.host.clock_ns:
            before_ns = self.host.clock_ns or clock_ns - TICK_NS
            self._note(self.host.consume(Slice(before_ns, clock_ns, {})))

    def _note(self, records: list[WindowRecord]) -> None:
        for record in records:
            try:
                self.log.add(record)
            except ValueError:
                self.alerts["unsound_output"] += 1
        for symbol, arm, transition, changes in self.host.take_transitions():
            event = asdict(transition) | {"event": "mode_changed", "symbol": symbol, "arm": arm, "changes": changes}
            logger.info(json.dumps(event, sort_keys=True))

    def tally(self) -> Tally:
        """What was counted since the start."""
        events, refused = self.live.tally() if self.live is not None else ({}, {})
        alerts = self.alerts | {"windows_overwritten": self.log.overwritten}
        return Tally(self.log.count, alerts, self.failed_updates, events, refused)

    def commands(self) -> dict[str, Command]:
        """What the control socket understands."""
        return {"status": self._status, "play": self._play, "apply": self._apply, "roll_back": self._roll_back}

    async def _status(self, _: dict[str, Any]) -> dict[str, Any]:
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
        started_ns = self._clock.mono_ns()
        number = self._take_number()
        try:
            candidate = await asyncio.to_thread(self.host.read, wanted)
            if number < self._carried_out:
                raise RefusedError("a later request was carried out while these parameters were read")
            self.host.apply(wanted, candidate)
        except ConfigError as error:
            self.alerts["update_failed"] += 1
            self.failed_updates[error.module if isinstance(error, ModuleError) else "parameters"] += 1
            raise
        self._carried_out = number
        self.update_ms.append((self._clock.mono_ns() - started_ns) / 1e6)
        return self.status()

    async def _roll_back(self, request: dict[str, Any]) -> dict[str, Any]:
        started_ns = self._clock.mono_ns()
        number = self._take_number()
        self.host.roll_back(request.get("symbols"), int(request["epoch"]))
        self._carried_out = number
        self.update_ms.append((self._clock.mono_ns() - started_ns) / 1e6)
        return self.status()

    def _take_number(self) -> int:
        """Number of a request that changes what is live. They are carried out in the order they came, or refused."""
        self._asked += 1
        return self._asked
