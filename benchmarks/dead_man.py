"""The dead-man switch: it brings the baseline back where everybody else is dead, and nothing else makes it trip.

    python -m benchmarks.dead_man --count 200 --restarts 1000 [--load]

First, `--count` trials, a few at a time. Each has a service with a live candidate, the guardian that deployed it and
the flow that observes; guardian and flow are SIGKILLed together at a random moment between two renewals of the
lease. The service is left alone, nobody asks it anything: the time runs until the latch is in its state directory
(`p50_s`, `worst_s`; the lease is that of production, 20 s). Then it is asked, once, what every symbol runs and why it
is latched: `on_baseline_within_21_s` counts trials in which all are on the baseline, latched for the lease, in time.

Then `--restarts` of a Prefect server beside one running stage with its service, its guardian and its flow, which has
gone on without Prefect as it does after the first such death. A restart is: `prefect server start` as a process of its
own, in its own home, until it listens on its port or 3 s have passed, and SIGKILL to its process group.
`false_rollbacks` counts rollbacks that were ordered meanwhile and latches of the service; `longest_lease_age_s` is the
largest age of the lease that was seen, looked at ten times a second.

`--load` keeps two processes busy all the while. Prints one JSON line last.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.forking import reap, spawn
from benchmarks.staged import START_NS, Staged, plan_staged, service_spec, write_staged
from engine.adapters.feeds import FeedSpec
from engine.adapters.prefect_server import start_prefect
from engine.adapters.processes import pid_of, stop
from engine.adapters.standing import StandingFiles
from engine.errors import InputError
from engine.rollout.guardian import RENEW_S
from engine.rollout.journal import RecordType
from engine.strategy.guardrails import LEASE
from engine.strategy.warm import warm_up

TICKERS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT", "DOGEUSDT")
SYMBOLS = tuple(sorted(f"{ticker}.simulated" for ticker in TICKERS))
MARKET_S = 24 * 3600.0
AT_A_TIME = 20
PROMISED_S = 21.0
GIVE_UP_S = 60.0
POLL_S = 0.02
LOOK_S = 0.1
LISTENS_WITHIN_S = 3.0


def stage_running(home: Path, name: str) -> Staged:
    """A rollout whose first stage's clock runs, with service, guardian and flow alive. Raises ServiceError."""
    spec = plan_staged(home, name, SYMBOLS)
    folder = home / "rollouts" / name
    feed = FeedSpec(None, 1.0, 1, TICKERS, START_NS, MARKET_S)
    write_staged(folder, spec, service_spec(spec, folder / "service", feed=feed))
    staged = Staged(folder)
    for process in ("service", "guardian", "flow"):
        staged.start(process)
    return staged


@dataclass
class Trial:
    """One service that will be left alone."""

    staged: Staged
    kill_at: float
    killed_at: float = 0.0
    latched_after_s: float | None = None

    def look(self) -> bool:
        """Kill when it is time, then watch the state directory. True once there is nothing to wait for."""
        now = time.perf_counter()
        if not self.killed_at:
            if now >= self.kill_at:
                self.staged.kill("guardian", "flow")
                self.killed_at = time.perf_counter()
            return False
        if is_latched(self.staged.folder):
            self.latched_after_s = now - self.killed_at
        return self.latched_after_s is not None or now - self.killed_at > GIVE_UP_S


def is_latched(folder: Path) -> bool:
    """Whether the service has written down that it put the baseline back by itself."""
    try:
        return StandingFiles(folder / "service").read().latch is not None
    except InputError:
        return False


def batch(home: Path, count: int, first: int, dice: random.Random) -> list[tuple[float | None, str]]:
    """Run trials together; return for each how long it took, None where it did not end well, and what was found."""
    stages = [stage_running(home, f"trial-{first + number}") for number in range(count)]
    try:
        for staged in stages:
            name = staged.stage
            staged.until(lambda state, name=name: state.stage(name).start_ns is not None)  # type: ignore[misc]
        now = time.perf_counter()
        waiting = trials = [Trial(staged, now + dice.uniform(0.0, RENEW_S)) for staged in stages]
        while waiting:
            waiting = [trial for trial in waiting if not trial.look()]
            time.sleep(POLL_S)
        return [judged(trial) for trial in trials]
    finally:
        for staged in stages:
            staged.end()


def judged(trial: Trial) -> tuple[float | None, str]:
    """Ask the service once what became of it."""
    if trial.latched_after_s is None:
        return None, "not latched"
    cause = str(trial.staged.wiring.service.status()["latch"]["cause"])
    if not trial.staged.is_on_baseline():
        return None, "not on the baseline"
    return trial.latched_after_s if cause == LEASE else None, cause


def left_alone(home: Path, count: int, seed: int) -> dict[str, Any]:
    """The first part."""
    dice, found = random.Random(seed), list[tuple[float | None, str]]()
    while len(found) < count:
        size = min(AT_A_TIME, count - len(found))
        found += batch(home, size, len(found), dice)
        print(f"{len(found)} of {count} trials: {dict(Counter(what for _, what in found))}", file=sys.stderr)
    times = [seconds for seconds, _ in found if seconds is not None]
    return {
        "trials": len(found), "on_baseline_within_21_s": sum(seconds <= PROMISED_S for seconds in times),
        "causes": dict(Counter(what for _, what in found)),
        "p50_s": round(statistics.median(times), 3) if times else None,
        "worst_s": round(max(times), 3) if times else None,
    }  # fmt: skip


def restarts(home: Path, count: int) -> dict[str, Any]:
    """The second part."""
    staged, prefect = stage_running(home, "restarts"), home / "prefect"
    oldest_s, before = 0.0, 0
    try:
        staged.until(lambda state: state.stage(staged.stage).start_ns is not None)
        for number in range(count):
            start_prefect(prefect)
            deadline = time.perf_counter() + LISTENS_WITHIN_S
            while time.perf_counter() < deadline and not is_listening(int((prefect / "port").read_text())):
                oldest_s = max(oldest_s, float(staged.wiring.service.status()["lease"]["age_s"]))
                time.sleep(LOOK_S)
            kill_group(prefect)
            if number % 20 == 0:
                print(f"{number} of {count} restarts, oldest lease {oldest_s:.1f} s", file=sys.stderr)
        records = staged.wiring.journal.records()
        latched = staged.wiring.service.status()["latch"] is not None
        before = sum(record.type is RecordType.ROLLBACK_ORDERED for record in records) + latched
    finally:
        stop("prefect", prefect, patience_s=0.5)
        staged.end()
    return {"prefect_restarts": count, "false_rollbacks": before, "longest_lease_age_s": round(oldest_s, 3)}


def is_listening(port: int) -> bool:
    with socket.socket() as door:
        door.settimeout(0.2)
        return door.connect_ex(("127.0.0.1", port)) == 0


def kill_group(prefect: Path) -> None:
    """SIGKILL the server and what it started."""
    pid = pid_of("prefect", prefect)
    if pid is not None:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@contextlib.contextmanager
def busy(home: Path, processes: int) -> Iterator[None]:
    """Keep the machine busy."""

    def spin() -> int:
        while True:
            sum(range(10_000))

    pids = [spawn(f"busy-{number}", spin, home, home) for number in range(processes)]
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            reap(pid, wait=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--restarts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--load", action="store_true")
    options = parser.parse_args()
    warm_up()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="dead-man-") as scratch, busy(Path(scratch), 2 * options.load):
        if options.count:
            result |= left_alone(Path(scratch), options.count, options.seed)
        if options.restarts:
            result |= restarts(Path(scratch), options.restarts)
    print(json.dumps(result | {"load": options.load}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
