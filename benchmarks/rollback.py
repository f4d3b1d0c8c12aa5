"""The time that the baseline takes to come back on twenty symbols, with everything dead that a rollback may not need.

    python -m benchmarks.rollback --count 1000

A venue on this machine plays, the service listens to it with twenty symbols, a guardian watches; all are processes of
their own. There is no Prefect, no Slack, no database, and where this user may have a network namespace no network but
the loopback in it: `network` is "none" then. After each rollback the service is asked what every symbol runs, and those
that left one off the baseline are counted: `not_on_baseline`; `other_tier` counts those that took another way than the
one measured. Then a person re-arms, and the guardian deploys again.

- T0: inside the service, from detecting that the lease ran out to having swapped (`latch.swap_ms`).
- T1_command: the guardian is killed; this process orders, asks the service, reads back and writes the outcome.
- T1_guardian: this process only orders; the time until the outcome is in the journal.
- T1_condition: one symbol is taken off the candidate behind the guardian's back, which has to see it by itself.
- T1_whole_process: `python -m graygate rollback` with the guardian dead, the start of the interpreter included.
- T2: the service is stopped (SIGSTOP: it hangs with its doors open) until the guardian, who has to see it by itself,
  has killed it, started another on the baseline with the rollback switches and read back. T2_after_order: the part
  of it after the order.

T1 is three ways in turn, `count` in all; a fifth as many T0, a fiftieth as many of the whole process and of T2.
`worst_s`, `p50_s` and `p99_s` at the top are those of T1's three ways together. Prints one JSON line last.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.forking import reap, spawn
from benchmarks.no_network import leave_network, network
from benchmarks.staged import PATIENCE_S, PERSON, Staged, plan_staged, service_spec, write_staged
from benchmarks.wire_server import serving
from benchmarks.wire_tape import Tape, WireSpec, make_tape
from engine.adapters.live.spec import LiveSpec, MarketSpec
from engine.adapters.processes import ROOT, pid_of
from engine.adapters.supervisor import PAUSED
from engine.errors import ServiceError
from engine.rollout.guardian import TICK_S
from engine.rollout.journal import RecordType
from engine.rollout.rollback import T1, T2
from engine.rollout.state import ROLLED_BACK
from engine.strategy.warm import warm_up

GUARD_S = 0.3
"""The service's guard loop looks each 250 ms."""

TICKERS = tuple(f"B{number:02d}USDT" for number in range(20))
SYMBOLS = tuple(f"{ticker}.binance_usdm" for ticker in TICKERS)
RATE = 200.0
"""Messages a second of the venue."""

SECONDS = (300, 3)
"""How long the venue plays: so many seconds, and so many more for each rollback."""

T0_TTL_S = 0.3
T2_PATIENCE_S = 120.0
EVERY_T0, EVERY_PROCESS, EVERY_T2 = 5, 50, 50


class Bench:
    """The rollout that goes back again and again, and what was found."""

    def __init__(self, home: Path, live: LiveSpec) -> None:
        spec = plan_staged(home, "benchmark", SYMBOLS)
        self.home = home
        folder = home / "rollouts" / spec.rollout
        write_staged(folder, spec, service_spec(spec, folder / "service", live=live))
        (folder / PAUSED).touch()  # there is no flow: nobody shall take its place
        self.staged = Staged(folder)
        self.seconds: dict[str, list[float]] = {}
        self.not_on_baseline = self.other_tier = 0
        self._dice = random.Random(1)

    def begin(self) -> None:
        self.staged.start("service")
        self.staged.start("guardian")

    def measure(self, way: Callable[[], dict[str, float]], tier: str) -> None:
        """Deploy, go back one way, and see that every symbol did, and by the tier that this way is to take."""
        self.staged.deploy()
        for name, seconds in way().items():
            self.seconds.setdefault(name, []).append(seconds)
        self.not_on_baseline += not self.staged.is_on_baseline()
        last = [record for record in self.staged.wiring.journal.records() if record.type is RecordType.ROLLED_BACK][-1]
        self.other_tier += last.body["tier"] != tier

    def command(self) -> dict[str, float]:
        """Nobody but this process, as `graygate rollback` does it."""
        self.staged.kill("guardian")
        wiring, began = self.staged.wiring, time.perf_counter()
        wiring.orders.order_rollback("ordered", PERSON)
        wiring.rollback.carry_out()
        seconds = time.perf_counter() - began
        self.staged.start("guardian")
        return {"T1_command": seconds}

    def guardian(self) -> dict[str, float]:
        """Ordered here, carried out by the guardian."""
        began = time.perf_counter()
        self.staged.wiring.orders.order_rollback("ordered", PERSON)
        self._until_rolled_back()
        return {"T1_guardian": time.perf_counter() - began}

    def condition(self) -> dict[str, float]:
        """Something is not as it was ordered."""
        time.sleep(self._dice.uniform(0.0, TICK_S))  # anywhere between two looks of the guardian
        wiring, began = self.staged.wiring, time.perf_counter()
        wiring.service.roll_back(self.staged.state().epoch, [SYMBOLS[7]])
        self._until_rolled_back()
        return {"T1_condition": time.perf_counter() - began}

    def whole_process(self) -> dict[str, float]:
        """What a person waits for in a terminal."""
        self.staged.kill("guardian")
        command = [sys.executable, "-m", "graygate", "rollback", "--home", str(self.home), "--name", PERSON]
        began = time.perf_counter()
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        seconds = time.perf_counter() - began
        self.staged.start("guardian")
        return {"T1_whole_process": seconds}

    def hang(self) -> dict[str, float]:
        """The service says nothing any more, and its doors stand open."""
        folder = self.staged.folder
        pid = pid_of("service", folder / "service")
        assert pid is not None
        began = time.perf_counter()
        os.kill(pid, signal.SIGSTOP)
        self._until_rolled_back(T2_PATIENCE_S)
        seconds = time.perf_counter() - began
        ordered = self.staged.state().rollback_seconds
        assert ordered is not None
        return {"T2": seconds, "T2_after_order": ordered}

    def _until_rolled_back(self, patience_s: float = PATIENCE_S) -> None:
        self.staged.until(lambda state: state.outcome == ROLLED_BACK and state.rolling_back is None, patience_s)

    def run(self, count: int) -> None:
        ways = (self.command, self.guardian, self.condition)
        for number in range(count):
            way = ways[number % len(ways)]
            self.measure(way, T1)
            if number % 50 == 0:
                print(f"{number} of {count} rollbacks, {self.not_on_baseline + self.other_tier} wrong", file=sys.stderr)
        for _ in range(max(1, count // EVERY_PROCESS)):
            self.measure(self.whole_process, T1)
        for number in range(max(1, count // EVERY_T2)):
            self.measure(self.hang, T2)
            print(f"T2 number {number + 1}: {self.seconds['T2'][-1]:.1f} s", file=sys.stderr)


def t0_seconds(home: Path, live: LiveSpec, count: int) -> list[float]:
    """Let the lease of a live candidate run out, again and again, and let the service say how long its swap took."""
    spec = plan_staged(home, "t0", SYMBOLS)
    folder = home / "t0"
    write_staged(folder, spec, service_spec(spec, folder / "service", live=live, ttl_s=T0_TTL_S))
    staged = Staged(folder)
    staged.start("service")
    service, release, found = staged.wiring.service, spec.releases[staged.stage], []
    for epoch in range(1, count + 1):
        if epoch > 1:
            service.rearm(epoch)
        service.renew(epoch)
        service.apply(
            rollout_id=spec.rollout, stage=staged.stage, epoch=epoch, fingerprint=release.fingerprint,
            params=release.params, live=list(SYMBOLS),
        )  # fmt: skip
        time.sleep(T0_TTL_S + GUARD_S)
        latch = service.status()["latch"]
        if latch is None or not staged.is_on_baseline():
            raise ServiceError(f"trip {epoch}: the service did not put the baseline back by itself: {latch}")
        found.append(latch["swap_ms"] / 1000)
    staged.end()
    return found


def play(port: int, count: int) -> int:
    """The venue's process: twenty instruments on 127.0.0.1, for as long as the benchmark may take."""
    tape = make_tape(count, 1, tuple(("usdm", ticker) for ticker in TICKERS))
    wanted = [message for message in tape.messages if "@depth" not in message.stream]

    async def forever() -> None:
        async with serving(Tape(wanted, {}), WireSpec(None, rate=RATE, retime=True), port):
            await asyncio.Event().wait()

    asyncio.run(forever())
    return 0


@contextlib.contextmanager
def venue(home: Path, seconds: int) -> Iterator[LiveSpec]:
    """Fork the venue, and say where it is."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    pid = spawn("venue", lambda: play(port, round(seconds * RATE * 4 / 3)), home, home)
    url = f"127.0.0.1:{port}/usdm"
    try:
        yield LiveSpec((MarketSpec("usdm", TICKERS, depth=None, ws_url=f"ws://{url}", rest_url=f"http://{url}"),))
    finally:
        os.kill(pid, signal.SIGKILL)
        reap(pid, wait=True)


def figures(seconds: list[float]) -> dict[str, Any]:
    return {
        "n": len(seconds), "p50_s": round(statistics.median(seconds), 5),
        "p99_s": round(float(np.percentile(seconds, 99)), 5), "worst_s": round(max(seconds), 5),
    }  # fmt: skip


def measure(home: Path, count: int) -> dict[str, Any]:
    with venue(home, SECONDS[0] + SECONDS[1] * count) as live:
        t0 = t0_seconds(home, live, max(1, count // EVERY_T0))
        print(f"T0: {figures(t0)}", file=sys.stderr)
        bench = Bench(home, live)
        try:
            bench.begin()
            bench.run(count)
        finally:
            bench.staged.end()
    tiers = {"T0": t0, **bench.seconds}
    t1 = [second for name in ("T1_command", "T1_guardian", "T1_condition") for second in bench.seconds.get(name, [])]
    return {
        **figures(t1), "tiers": {name: figures(found) for name, found in tiers.items()},
        "not_on_baseline": bench.not_on_baseline, "other_tier": bench.other_tier,
        "symbols": len(SYMBOLS), "network": network(),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args()
    leave_network()
    warm_up()
    with tempfile.TemporaryDirectory(prefix="rollback-") as scratch:
        print(json.dumps(measure(Path(scratch), options.count)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
