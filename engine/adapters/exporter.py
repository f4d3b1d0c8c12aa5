"""The service's state as Prometheus metrics, collected when asked."""

import math
import resource
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from engine import metrics as names
from engine.clock import NS_PER_S
from engine.strategy.events import TICK_NS
from engine.strategy.fold import ARMS
from engine.strategy.guardrails import CAUSES
from engine.strategy.host import Host
from engine.strategy.mode import MODES, REASONS

ARM_LABELS = ["symbol", "arm"]


@dataclass(frozen=True, slots=True)
class Tally:
    """What the service has counted since it started: alerts by kind, refused updates by module, what its live feed
    went through by event, refused messages by reason, what put the baseline back by cause. And how it stands: age of
    its lease, the cause it is latched by, and how long the baseline took to be back then."""

    windows_closed: int = 0
    alerts: Mapping[str, int] = field(default_factory=dict)
    failed_updates: Mapping[str, int] = field(default_factory=dict)
    feed_events: Mapping[str, int] = field(default_factory=dict)
    refused_messages: Mapping[str, int] = field(default_factory=dict)
    trips: Mapping[str, int] = field(default_factory=dict)
    lease_age_s: float = math.nan
    latched_by: str | None = None
    swap_ms: float = math.nan


class HostCollector(Collector):
    """Reads the host at each scrape. Nothing is cached, so nothing can be stale."""

    def __init__(self, host: Host, tally: Callable[[], Tally]) -> None:
        self._host = host
        self._tally = tally

    def collect(self) -> Iterator[Metric]:
        tally = self._tally()
        yield from self._process(tally)
        yield from self._safety(tally)
        yield from self._modes()
        yield from self._triggers()
        yield from self._signals()

    def _process(self, tally: Tally) -> Iterator[Metric]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        yield _counter(names.CPU_SECONDS, usage.ru_utime + usage.ru_stime)
        yield _gauge(names.RSS_BYTES, resident_bytes())
        yield _gauge(names.CLOCK_NS, self._host.clock_ns / NS_PER_S)
        yield _gauge(names.EPOCH, self._host.epoch)
        yield _counter(names.WINDOWS_CLOSED, tally.windows_closed)
        yield _by_label(names.CRITICAL_ALERTS, "kind", tally.alerts)
        yield _by_label(names.PARAMS_UPDATE_FAILURES, "module", tally.failed_updates)
        yield _by_label(names.FEED_EVENTS, "event", tally.feed_events)
        yield _by_label(names.FEED_REFUSED, "reason", tally.refused_messages)

    def _safety(self, tally: Tally) -> Iterator[Metric]:
        yield _gauge(names.LEASE_AGE, tally.lease_age_s)
        yield _gauge(names.GUARDRAIL_SWAP_MS, tally.swap_ms)
        yield _by_label(names.GUARDRAIL_TRIPS, "cause", tally.trips)
        latched, killed = _family(names.LATCHED, ["cause"]), _family(names.KILLED, ["symbol"])
        for cause in CAUSES:
            latched.add_metric([cause], float(cause == tally.latched_by))
        for symbol in self._host.symbols:
            killed.add_metric([symbol], float(symbol in self._host.killed))
        yield from (latched, killed)

    def _arms(self) -> Iterator[tuple[list[str], tuple[int, int], Any]]:
        """Labels, place and record of every arm."""
        for i, (symbol, arms) in enumerate(
            zip(self._host.symbols, self._host.folding.memory.market["arms"], strict=True)
        ):
            for name, j in ARMS.items():
                yield [symbol, name], (i, j), arms[j]

    def _modes(self) -> Iterator[Metric]:
        fingerprints = self._host.folding.snapshot.fingerprints
        active = _family(names.MODE_ACTIVE, ARM_LABELS)
        info = InfoMetricFamily(names.MODE_INFO, names.HELP[names.MODE_INFO], labels=ARM_LABELS)
        changed = _family(names.MODE_LAST_CHANGE, ARM_LABELS)
        transitions = CounterMetricFamily(
            names.MODE_TRANSITIONS, names.HELP[names.MODE_TRANSITIONS], labels=[*ARM_LABELS, "from", "to", "reason"]
        )
        spent = CounterMetricFamily(names.TIME_IN_MODE, names.HELP[names.TIME_IN_MODE], labels=[*ARM_LABELS, "mode"])
        for labels, (_, j), arm in self._arms():
            mode = MODES[arm["mode"]]
            active.add_metric(labels, float(arm["mode"]))
            info.add_metric(labels, {"mode": mode.value, "fingerprint": fingerprints[j]})
            if arm["last_change_ns"]:
                changed.add_metric(labels, arm["last_change_ns"] / NS_PER_S)
            for to, reasons in enumerate(arm["transition_counts"]):
                for reason, count in zip(REASONS, reasons, strict=True):
                    if count:
                        transitions.add_metric(
                            [*labels, MODES[1 - to].value, MODES[to].value, reason.value], int(count)
                        )
            for gone_to, ticks in zip(MODES, arm["ticks_in_mode"], strict=True):
                spent.add_metric([*labels, gone_to.value], ticks * TICK_NS / NS_PER_S)
        yield from (active, info, changed, transitions, spent)

    def _triggers(self) -> Iterator[Metric]:
        keys = ("trades_per_min", "quote_updates_per_sec", "spread_bps", "volatility_bps", "volume_usd")
        flags = ("schedule_active", "market_active")
        families = {
            key: GaugeMetricFamily(names.TRIGGER + key, f"Mode trigger: {key}.", labels=ARM_LABELS)
            for key in (*flags, *keys)
        }
        for labels, place, arm in self._arms():
            for key in flags:
                families[key].add_metric(labels, float(arm[key]))
            seen = self._host.folding.seen.get(place)
            for key in keys:
                value = getattr(seen, key) if seen is not None else None
                families[key].add_metric(labels, math.nan if value is None else value)
        yield from families.values()

    def _signals(self) -> Iterator[Metric]:
        z = _family(names.SIGNAL_Z, [*ARM_LABELS, "signal"])
        exposure = _family(names.PAPER_EXPOSURE, ARM_LABELS)
        for labels, (i, j), arm in self._arms():
            for signal in ("ofi", "cvd"):
                z.add_metric([*labels, signal], float(arm[f"exported_{signal}_z"]))
            limit = self._host.folding.snapshot.table[i, j, arm["mode"]]["position_limit"]
            exposure.add_metric(labels, float(arm["position"] * limit))
        live = InfoMetricFamily(names.LIVE_INFO, names.HELP[names.LIVE_INFO], labels=["symbol"])
        fingerprints = self._host.live_fingerprints()
        for symbol, arm_name in self._host.live_arms().items():
            live.add_metric([symbol], {"arm": arm_name, "fingerprint": fingerprints[symbol]})
        yield from (z, exposure, live, self._feed_age())

    def _feed_age(self) -> Metric:
        age = _family(names.FEED_AGE, ["symbol"])
        for symbol, record in zip(self._host.symbols, self._host.folding.memory.market, strict=True):
            heard_ns = int(record["last_event_ns"])
            age.add_metric([symbol], max(0, self._host.clock_ns - heard_ns) / NS_PER_S if heard_ns else math.nan)
        return age


def resident_bytes() -> float:
    """Resident memory of this process, NaN where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return math.nan
    return float(pages * resource.getpagesize())


def _family(name: str, labels: list[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, names.HELP[name], labels=labels)


def _gauge(name: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, names.HELP[name], value=value)


def _counter(name: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, names.HELP[name], value=value)


def _by_label(name: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, names.HELP[name], labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family
