"""Runs peers on a stream in child processes, and takes their speed only if they computed the right sums."""

import json
import select
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from benchmarks.peers.environment import ROOT, PeersMissingError, bench_python
from benchmarks.streams import Sums

RUN_S = 600
TOLERANCE = 1e-9
"""Of the sum of magnitudes: what adding a million floats in another order may differ by."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer's median CPU seconds, or None and the reason."""

    cpu_s: float | None
    reason: str | None = None


class PeerFailedError(Exception):
    """A peer ended, hung or computed something else; the message says which."""


class PeerProcess:
    """One peer with the stream loaded, which runs when asked: `benchmarks/peers/<name>_peer.py`."""

    def __init__(self, name: str, python: Path, stream: Path) -> None:
        self.name = name
        self.cpu_s: list[float] = []
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed in __exit__
        self._process = subprocess.Popen(
            [str(python), "-m", f"benchmarks.peers.{name}_peer", str(stream)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def wait_ready(self) -> None:
        """Return when everything is loaded and compiled. Raises PeerFailedError."""
        self._read()

    def run(self, truth: dict[str, Sums]) -> None:
        """Run once and keep the CPU seconds in `cpu_s`. Raises PeerFailedError."""
        assert self._process.stdin is not None
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        answer = self._read()
        wrong = difference(answer, truth)
        if wrong is not None:
            raise PeerFailedError(f"{self.name} computes something else: {wrong}")
        self.cpu_s.append(float(answer["cpu_s"]))

    def _read(self) -> Any:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], RUN_S)[0]:
            raise PeerFailedError(f"{self.name} did not answer in {RUN_S} s")
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._errors.seek(0)
            said = self._errors.read().strip().splitlines()
            raise PeerFailedError(f"{self.name} ended with {code}: {said[-1] if said else 'no message'}")
        return json.loads(line)


def race(
    names: tuple[str, ...], stream: Path, truth: dict[str, Sums], ours: Callable[[], float], rounds: int
) -> tuple[float, dict[str, Peer]]:
    """Run us and every peer in turn, `rounds` times; return our median CPU seconds and the peers'.

    In turn, because CPU time also rises while others use the machine: all must feel the same. `stream` is a
    file of `feed.save`. A peer that fails is left out from then on, and has a reason instead of a speed.
    """
    reasons: dict[str, str] = {}
    mine: list[float] = []
    with ExitStack() as stack:
        running = _start(names, stream, stack, reasons)
        for _ in range(rounds):
            mine.append(ours())
            for peer in running:
                if peer.name not in reasons:
                    _try(reasons, peer.name, partial(peer.run, truth))
    found = {name: Peer(None, reason) for name, reason in reasons.items()}
    found |= {peer.name: Peer(statistics.median(peer.cpu_s)) for peer in running if peer.name not in reasons}
    return statistics.median(mine), found


def _start(names: tuple[str, ...], stream: Path, stack: ExitStack, reasons: dict[str, str]) -> list[PeerProcess]:
    """Return the peers, loaded; where that fails, a reason is in `reasons`."""
    try:
        python = bench_python()
    except PeersMissingError as error:
        reasons.update(dict.fromkeys(names, str(error)))
        return []
    peers = [stack.enter_context(PeerProcess(name, python, stream)) for name in names]
    for peer in peers:
        _try(reasons, peer.name, peer.wait_ready)
    return peers


def _try(reasons: dict[str, str], name: str, step: Callable[[], None]) -> None:
    try:
        step()
    except (PeerFailedError, BrokenPipeError) as error:
        reasons[name] = str(error)


def difference(answer: dict[str, Any], truth: dict[str, Sums]) -> str | None:
    """Return where a peer's sums differ from the true ones, None where they agree on every symbol."""
    for symbol, sums in truth.items():
        for name, true, scale in (("cvd", sums.cvd, sums.cvd_scale), ("flow", sums.flow, sums.flow_scale)):
            found = answer[name].get(symbol)
            if found is None or not abs(found - true) <= TOLERANCE * scale:
                return f"{name} of {symbol} is {found}, not {true}"
    return None
