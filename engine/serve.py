"""The released process: market feed -> two arms per symbol -> windows, metrics, control.

Started with one JSON file that says everything: `python -m engine.serve SPEC.json`.
It boots to baseline, unless a live lease asks for the last deployment. SIGTERM drains: what was received is
folded, windows nobody has collected yet are written down, then it exits. Where the market fails, they are
written down as well.
"""

import asyncio
import contextlib
import gc
import json
import logging
import os
import random
import signal
import sys
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
import uvloop

from engine.adapters.control import bind_socket, serve_control
from engine.adapters.feeds import Feed, open_feed
from engine.adapters.live.feed import LiveFeed
from engine.adapters.playing import listen, play
from engine.adapters.runtime import Runtime
from engine.adapters.safety import Rules, Safety
from engine.adapters.service_http import make_app
from engine.adapters.service_spec import ServiceSpec
from engine.adapters.standing import StandingFiles
from engine.adapters.window_log import WindowLog
from engine.clock import Clock, SystemClock
from engine.errors import GraygateError, InputError, RefusedError
from engine.strategy.events import Instrument
from engine.strategy.host import Host
from engine.strategy.params import StrategyParams, parse_params
from engine.strategy.warm import warm_up


def pinned_by_environment(params: StrategyParams, environment: dict[str, str]) -> StrategyParams:
    """Obey the rollback switches: STRATEGY_MODE and DYNAMIC_MODE_ENABLED pin the stable parameters."""
    mode = environment.get("STRATEGY_MODE", params.mode)
    if mode not in ("auto", "active", "quiet"):
        raise RefusedError(f"STRATEGY_MODE must be auto, active or quiet, was {mode!r}")
    enabled = environment.get("DYNAMIC_MODE_ENABLED", str(params.dynamic_mode_enabled)).lower()
    if enabled not in ("true", "false"):
        raise RefusedError(f"DYNAMIC_MODE_ENABLED must be true or false, was {enabled!r}")
    return replace(params, mode=mode, dynamic_mode_enabled=enabled == "true")  # type: ignore[arg-type]


def assemble(spec: ServiceSpec, clock: Clock, stop: asyncio.Event) -> tuple[Runtime, Coroutine[Any, Any, None]]:
    """Build what runs, and the coroutine that lets the market in. Raises InputError."""
    if (spec.feed is None) == (spec.live is None):
        raise InputError("a service needs either a feed to play or a live market to listen to")
    stable = pinned_by_environment(parse_params(spec.stable_params, spec.stable_fingerprint), dict(os.environ))
    switched_off = os.environ.get("DYNAMIC_MODE_ENABLED", "").lower() == "false"
    state_dir = Path(spec.state_dir)
    log = WindowLog(state_dir / "undelivered.jsonl", spec.measurement)
    rules = Rules(spec.caps, spec.guardrails, spec.lease_ttl_s)

    def runtime_of(instruments: list[Instrument], feed: Feed | None, *, with_depth: bool) -> Runtime:
        host = Host(instruments, spec.measurement, stable, spec.caps, with_depth=with_depth)
        safety = Safety(host, rules, StandingFiles(state_dir), clock, is_market_live=feed is None)
        safety.boot(switched_off=switched_off)
        return Runtime(host, feed, log, clock, switched_off, safety)

    if spec.live is not None:
        source = LiveFeed(spec.live, clock, random.Random(clock.now_ns()))
        with_depth = any(market.depth is not None for market in spec.live.markets)
        runtime = runtime_of(source.instruments(), None, with_depth=with_depth)
        runtime.live = source
        return runtime, listen(runtime, source, stop)
    assert spec.feed is not None
    feed = open_feed(spec.feed)
    runtime = runtime_of(feed.instruments(), feed, with_depth=spec.feed.with_depth)
    return runtime, play(runtime, feed, spec.feed.speed, clock)


async def run(spec: ServiceSpec) -> None:
    """Serve until SIGTERM or SIGINT."""
    state_dir = Path(spec.state_dir)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runtime, market = assemble(spec, SystemClock(), stop)
    warm_up()
    gc.collect()
    gc.freeze()  # what lives as long as the process is not looked through again and again
    await serve(runtime, market, state_dir, stop)


async def serve(runtime: Runtime, market: Coroutine[Any, Any, None], state_dir: Path, stop: asyncio.Event) -> None:
    """Open the doors and let the market in, until `stop`. What the market raises is raised once all is put away."""
    door = await serve_control(bind_socket(state_dir / "control.sock"), runtime.commands())
    config = uvicorn.Config(make_app(runtime), host="127.0.0.1", port=0, log_level="warning", lifespan="off")
    http = uvicorn.Server(config)
    http.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    listener = config.bind_socket()
    (state_dir / "http_port").write_text(str(listener.getsockname()[1]))
    serving, playing = asyncio.ensure_future(http._serve([listener])), asyncio.ensure_future(market)
    guarding = asyncio.ensure_future(runtime.safety.guard())
    try:
        await _until_stopped(playing, guarding, stop, is_live=runtime.live is not None)
    finally:
        guarding.cancel()
        await runtime.safety.keep()
        http.should_exit = True
        await asyncio.wait([serving])
        door.close()
        runtime.log.write_undelivered()
        (state_dir / "control.sock").unlink(missing_ok=True)
    serving.result()


async def _until_stopped(
    playing: asyncio.Future[Any], guarding: asyncio.Future[Any], stop: asyncio.Event, *, is_live: bool
) -> None:
    """Wait for `stop`. A market that is played ends there; a live one first hands over what it has received.

    What market or guard raise ends the service: without a guard nothing runs.
    """
    stopping = asyncio.ensure_future(stop.wait())
    awaited: set[asyncio.Future[Any]] = {stopping, playing, guarding}
    while stopping in awaited:
        done, awaited = await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        for future in done - {stopping}:
            future.result()
    if not is_live:
        playing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await playing


def main() -> int:
    """Entry point. Exit code 2 for a wrong specification, with one sentence."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        spec = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=ServiceSpec)
        uvloop.run(run(spec))
    except (GraygateError, msgspec.ValidationError, OSError, json.JSONDecodeError) as error:
        print(f"service: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
