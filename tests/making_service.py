"""A service that listens to a live market of two symbols, without the market and without the process."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.adapters.runtime import Runtime
from engine.adapters.safety import Rules, Safety
from engine.adapters.standing import StandingFiles
from engine.adapters.window_log import WindowLog
from engine.clock import Clock, FakeClock
from engine.strategy.caps import Caps
from engine.strategy.events import BookTop, EventBatch, Instrument, Slice
from engine.strategy.guardrails import GuardrailLimits
from engine.strategy.host import Deployment, Host
from engine.strategy.params import StrategyParams, canonical_json, fingerprint
from tests.making import MEASUREMENT, MS, T0, WIDE_CAPS, S, params_with

SYMBOLS = ("BTCUSDT.simulated", "ETHUSDT.simulated")
STABLE = params_with({"mode": "quiet"})
CANDIDATE = params_with({"mode": "active", "paper.fee_bps": 2.0})
BASELINE_LIVE = dict.fromkeys(SYMBOLS, fingerprint(STABLE))
CANDIDATE_LIVE = dict.fromkeys(SYMBOLS, fingerprint(CANDIDATE))
LIMITS = GuardrailLimits(max_loss_bps=200.0, max_feed_age_s=30.0, max_loop_lag_ms=2_000.0)
TTL_S = 20.0


def host_of(caps: Caps = WIDE_CAPS, stable: StrategyParams = STABLE) -> Host:
    return Host([Instrument(symbol) for symbol in SYMBOLS], MEASUREMENT, stable, caps)


def safety_in(
    folder: Path, host: Host, clock: Clock, *, caps: Caps = WIDE_CAPS, is_market_live: bool = True,
    switched_off: bool = False,
) -> Safety:  # fmt: skip
    """The safety of a service that has just started in a folder."""
    rules = Rules(caps, LIMITS, TTL_S)
    safety = Safety(host, rules, StandingFiles(folder), clock, is_market_live=is_market_live)
    safety.boot(switched_off=switched_off)
    return safety


def runtime_in(
    folder: Path, clock: Clock | None = None, *, caps: Caps = WIDE_CAPS, is_market_live: bool = True,
    switched_off: bool = False,
) -> Runtime:  # fmt: skip
    """A service that has just started in a folder."""
    clock = clock or FakeClock()
    host = host_of(caps)
    safety = safety_in(folder, host, clock, caps=caps, is_market_live=is_market_live, switched_off=switched_off)
    return Runtime(host, None, WindowLog(folder / "undelivered.jsonl", MEASUREMENT), clock, switched_off, safety)


def wanted(params: StrategyParams = CANDIDATE, epoch: int = 1, live: tuple[str, ...] = SYMBOLS) -> Deployment:
    return Deployment("rollout", "10pct", epoch, fingerprint(params), canonical_json(params), live)


def quotes_until(runtime: Runtime, at_ns: int, bid_px: float = 100.0) -> None:
    """Let the market come to a tick, with a quote of every symbol 10 ms before it: a spread of 10 % around `bid_px`."""
    from_ns = runtime.host.clock_ns or T0
    quote = BookTop(at_ns - 10 * MS, bid_px, 1.0, bid_px * 1.1, 1.0)
    runtime.consume(Slice(from_ns, at_ns, {symbol: EventBatch.of([quote]) for symbol in SYMBOLS}))


def request(params: StrategyParams = CANDIDATE, epoch: int = 1, live: tuple[str, ...] = SYMBOLS) -> dict[str, Any]:
    """An `apply` as it comes in through the control socket."""
    loaded: dict[str, Any] = json.loads(json.dumps(asdict(wanted(params, epoch, live))))
    return loaded


def do(runtime: Runtime, command: str, **arguments: Any) -> dict[str, Any]:
    """One command, as it comes through the control socket."""

    async def answer() -> dict[str, Any]:
        return await runtime.commands()[command](json.loads(json.dumps(arguments)))

    return asyncio.run(answer())


def deployed(
    folder: Path, clock: Clock, *, live: tuple[str, ...] = SYMBOLS, caps: Caps = WIDE_CAPS, is_market_live: bool = True
) -> Runtime:
    """A service with the candidate live in epoch 1, a second into the market."""
    runtime = runtime_in(folder, clock, caps=caps, is_market_live=is_market_live)
    quotes_until(runtime, T0 + S)
    do(runtime, "renew", epoch=1)
    do(runtime, "apply", **request(CANDIDATE, live=live))
    runtime.safety.check()
    return runtime
