"""The released process: market feed -> two arms per symbol -> windows, metrics, control.

Started with one JSON file that says everything: `python -m engine.serve SPEC.json`.
It boots to baseline. SIGTERM drains: what was received is folded, windows nobody has
collected yet are written down, then it exits.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

from engine.adapters.control import bind_socket, serve_control
from engine.adapters.feeds import FeedSpec, open_feed
from engine.adapters.runtime import Runtime
from engine.adapters.service_http import make_app
from engine.adapters.window_log import WindowLog
from engine.clock import NS_PER_S, Clock, SystemClock
from engine.errors import GraygateError, RefusedError
from engine.strategy.caps import Caps
from engine.strategy.events import TICK_NS
from engine.strategy.host import Host
from engine.strategy.params import StrategyParams, parse_params
from engine.strategy.records import Measurement
from engine.strategy.warm import warm_up

logger = logging.getLogger(__name__)

SLICES_PER_TURN = 20
"""Slices folded before the loop looks at its doors again."""


@dataclass(frozen=True)
class ServiceSpec:
    """Everything the service needs to know at start. `state_dir` holds socket, port file and undelivered windows."""

    state_dir: str
    feed: FeedSpec
    measurement: Measurement
    stable_params: str
    stable_fingerprint: str
    caps: Caps


def pinned_by_environment(params: StrategyParams, environment: dict[str, str]) -> StrategyParams:
    """Obey the rollback switches: STRATEGY_MODE and DYNAMIC_MODE_ENABLED pin the stable parameters."""
    mode = environment.get("STRATEGY_MODE", params.mode)
    if mode not in ("auto", "active", "quiet"):
        raise RefusedError(f"STRATEGY_MODE must be auto, active or quiet, was {mode!r}")
    enabled = environment.get("DYNAMIC_MODE_ENABLED", str(params.dynamic_mode_enabled)).lower()
    if enabled not in ("true", "false"):
        raise RefusedError(f"DYNAMIC_MODE_ENABLED must be true or false, was {enabled!r}")
    return replace(params, mode=mode, dynamic_mode_enabled=enabled == "true")  # type: ignore[arg-type]


async def play(runtime: Runtime, spec: FeedSpec, clock: Clock) -> None:
    """Fold the feed, no faster than its speed and never past the horizon that was asked for."""
    started_ns: int | None = None
    for count, piece in enumerate(runtime.feed.slices(_step_ns(spec.speed))):
        while piece.clock_ns > runtime.horizon_ns:
            runtime.moved.clear()
            started_ns = None
            await runtime.moved.wait()
        if started_ns is None:
            started_ns, market_ns = clock.mono_ns(), piece.clock_ns
        runtime.consume(piece)
        ahead_s = 0.0
        if spec.speed > 0:
            due_s = (piece.clock_ns - market_ns) / NS_PER_S / spec.speed
            ahead_s = due_s - (clock.mono_ns() - started_ns) / NS_PER_S
        if ahead_s > 0.002:
            await asyncio.sleep(ahead_s)
        elif count % SLICES_PER_TURN == 0:
            await asyncio.sleep(0)
    runtime.exhausted = True


def _step_ns(speed: float) -> int:
    """Length of a slice: short where a person may watch, else a second; what comes out is the same."""
    return TICK_NS if 0 < speed < 10 else NS_PER_S


async def run(spec: ServiceSpec) -> None:
    """Serve until SIGTERM or SIGINT."""
    clock = SystemClock()
    state_dir = Path(spec.state_dir)
    feed = open_feed(spec.feed)
    stable = pinned_by_environment(parse_params(spec.stable_params, spec.stable_fingerprint), dict(os.environ))
    warm_up()
    host = Host(feed.instruments(), spec.measurement, stable, spec.caps, with_depth=spec.feed.with_depth)
    log = WindowLog(state_dir / "undelivered.jsonl", spec.measurement)
    runtime = Runtime(
        host, feed, log, clock, switched_off=os.environ.get("DYNAMIC_MODE_ENABLED", "").lower() == "false"
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    door = await serve_control(bind_socket(state_dir / "control.sock"), runtime.commands())
    config = uvicorn.Config(make_app(runtime), host="127.0.0.1", port=0, log_level="warning", lifespan="off")
    http = uvicorn.Server(config)
    http.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    listener = config.bind_socket()
    (state_dir / "http_port").write_text(str(listener.getsockname()[1]))
    with contextlib.suppress(asyncio.CancelledError):
        tasks = [asyncio.create_task(http._serve([listener])), asyncio.create_task(play(runtime, spec.feed, clock))]
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([stopping, *tasks[1:]], return_when=asyncio.FIRST_COMPLETED)
        if tasks[1].done():
            tasks[1].result()
        await stop.wait()
        tasks[1].cancel()
        http.should_exit = True
        await tasks[0]
    door.close()
    log.write_undelivered()
    (state_dir / "control.sock").unlink(missing_ok=True)


def main() -> int:
    """Entry point. Exit code 2 for a wrong specification, with one sentence."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        spec = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=ServiceSpec)
        asyncio.run(run(spec))
    except (GraygateError, msgspec.ValidationError, OSError, json.JSONDecodeError) as error:
        print(f"service: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 2)
    return 0


def spec_bytes(spec: ServiceSpec) -> bytes:
    """The specification as the file that `main` reads."""
    encoded: bytes = msgspec.json.encode(spec)
    return encoded


if __name__ == "__main__":
    sys.exit(main())

__all__: list[Any] = ["ServiceSpec", "main", "play", "run", "spec_bytes"]
