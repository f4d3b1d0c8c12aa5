"""How a rehearsal ends, over many seeds: the fold and the judge of `graygate rehearse`, without its processes.

    python -m benchmarks.rehearsal_outcomes --count 20 --candidate config/examples/bad_candidate.yaml

Operational conditions (CPU, uptime, ...) need a running service and are left out; everything that depends on
the market is what a rehearsal decides on. Prints one JSON line last.
"""

import argparse
import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from config.loader import Programme, load_caps, load_programme
from engine.adapters.simulated import SimulatedMarket
from engine.clock import NS_PER_S
from engine.rollout.evidence import Evidence
from engine.rollout.judge.judge import Look, judge
from engine.rollout.spec import pick_symbols
from engine.rollout.verdict import Verdict, overall
from engine.strategy.host import Deployment, Host
from engine.strategy.params import canonical_json
from engine.strategy.records import Measurement

OUTCOMES = ("promoted", "held", "rolled_back")


def play(programme: Programme, seed: int) -> tuple[str, str]:
    """Return the outcome of one seed and the stage it came in."""
    plan, feed = programme.plan, programme.feed
    assert feed is not None
    start_ns = int(datetime.fromisoformat(feed.simulated_start).replace(tzinfo=UTC).timestamp()) * NS_PER_S
    length_s = plan.warmup_s + sum(stage.observe_s for stage in plan.stages) + 4
    market = SimulatedMarket(seed, feed.simulated_tickers, start_ns, length_s)
    measurement = Measurement(plan.measurement_window_s, plan.grid_ms, plan.horizons_ms)
    host = Host(market.instruments(), measurement, programme.baseline.params, load_caps())
    slices, rows = market.slices(NS_PER_S), []
    clock_ns = (market.start_ns // NS_PER_S + 1 + plan.warmup_s) * NS_PER_S
    for stage in plan.stages:
        rows += fold_until(host, slices, clock_ns, measurement)
        release = programme.releases[stage.name]
        live = pick_symbols(stage, list(host.symbols), "plan")
        host.apply(Deployment("bench", stage.name, 1, release.fingerprint, canonical_json(release.params), live))
        for slot in range(1, stage.slot_count + 1):
            rows += fold_until(host, slices, clock_ns + slot * stage.cadence_s * NS_PER_S, measurement)
            evidence = Evidence(
                columns(rows), {}, tuple(host.symbols),
                {"baseline": programme.baseline.fingerprint, "canary": release.fingerprint},
                clock_ns, clock_ns + slot * stage.cadence_s * NS_PER_S, plan.measurement_window_s,
            )  # fmt: skip
            verdict = overall(judge(plan, stage, evidence, Look(slot, stage.slot_count)))
            if verdict is Verdict.FAIL:
                return "rolled_back", stage.name
        if verdict is not Verdict.PASS:
            return "held", stage.name
        clock_ns += stage.observe_s * NS_PER_S
    return "promoted", plan.stages[-1].name


def fold_until(host: Host, slices: Any, until_ns: int, measurement: Measurement) -> list[dict[str, Any]]:
    """Fold slices up to a market time and return the rows of the windows they closed."""
    rows: list[dict[str, Any]] = []
    while host.clock_ns < until_ns:
        rows += [record.to_row(measurement) for record in host.consume(next(slices))]
    return rows


def columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows as columns, lists kept as objects."""
    table: dict[str, Any] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if isinstance(values[0], list):
            table[name] = np.empty(len(values), dtype=object)
            table[name][:] = [np.array(value) for value in values]
        else:
            table[name] = np.array(values, dtype=object if isinstance(values[0], str) else None)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--candidate", type=Path, default=None)
    arguments = parser.parse_args()
    programme = load_programme(Path("config/rehearsal.yaml"), arguments.candidate, {})
    market_only = tuple(c for c in programme.plan.conditions if c.test != "limit" or c.metric == "loss_pct")
    programme = replace(programme, plan=replace(programme.plan, conditions=market_only))
    ends = []
    for seed in range(1, arguments.count + 1):
        ends.append(play(programme, seed))
        print(f"seed {seed}: {ends[-1][0]} in {ends[-1][1]}", flush=True)
    counts = Counter(outcome for outcome, _ in ends)
    print(json.dumps({"seeds": arguments.count, **{name: counts[name] for name in OUTCOMES}}))


if __name__ == "__main__":
    main()
