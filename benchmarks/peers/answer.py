"""A peer's side of the conversation: one run each time it is asked, one JSON line each."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Run:
    """CPU seconds of one run over the whole stream, and per symbol what it added up."""

    cpu_s: float
    cvd: dict[str, float]
    flow: dict[str, float]


def answer_runs(run: Callable[[], Run]) -> None:
    """Say that everything is loaded and compiled, then run once per line of standard input."""
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        print(json.dumps(asdict(run())), flush=True)
