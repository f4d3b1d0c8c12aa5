"""The service's state as Prometheus metrics, collected when asked."""

import math
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from engine import metrics as names
from engine.clock import NS_PER_S
from engine.strategy.arm import Arm
from engine.strategy.host import Host
from engine.strategy.mode import Mode
from engine.strategy.pipeline import BASELINE, CANARY

ARM_LABELS = ["symbol", "arm"]


class HostCollector(Collector):
    """Reads the host at each scrape. Nothing is cached, so nothing can be stale."""

    def __init__(self, host: Host, windows_closed: Callable[[], int], alerts: Callable[[], dict[str, int]]) -> None:
        self._host = host
        self._windows_closed = windows_closed
        self._alerts = alerts

    def collect(self) -> Iterator[Metric]:
        yield from self._process()
        yield from self._modes()
        yield from self._triggers()
        yield from self._signals()

    def _process(self) -> Iterator[Metric]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        yield _counter(names.CPU_SECONDS, usage.ru_utime + usage.ru_stime)
        yield _gauge(names.RSS_BYTES, resident_bytes())
        yield _gauge(names.CLOCK_NS, self._host.clock_ns / NS_PER_S)
        yield _gauge(names.EPOCH, self._host.epoch)
        yield _counter(names.WINDOWS_CLOSED, self._windows_closed())
        alerts = CounterMetricFamily(names.CRITICAL_ALERTS, names.HELP[names.CRITICAL_ALERTS], labels=["kind"])
        for kind, count in self._alerts().items():
            alerts.add_metric([kind], count)
        yield alerts
        failures = CounterMetricFamily(
            names.PARAMS_UPDATE_FAILURES, names.HELP[names.PARAMS_UPDATE_FAILURES], labels=["module"]
        )
        failures.add_metric(["parameters"], self._alerts()["update_failed"])
        yield failures

    def _arms(self) -> Iterator[tuple[str, Arm]]:
        for symbol, pipeline in self._host.pipelines.items():
            for name in (BASELINE, CANARY):
                yield symbol, pipeline.arms[name]

    def _modes(self) -> Iterator[Metric]:
        active = _family(names.MODE_ACTIVE, ARM_LABELS)
        info = InfoMetricFamily(names.MODE_INFO, names.HELP[names.MODE_INFO], labels=ARM_LABELS)
        changed = _family(names.MODE_LAST_CHANGE, ARM_LABELS)
        transitions = CounterMetricFamily(
            names.MODE_TRANSITIONS, names.HELP[names.MODE_TRANSITIONS], labels=[*ARM_LABELS, "from", "to", "reason"]
        )
        spent = CounterMetricFamily(names.TIME_IN_MODE, names.HELP[names.TIME_IN_MODE], labels=[*ARM_LABELS, "mode"])
        for symbol, arm in self._arms():
            labels = [symbol, arm.name]
            active.add_metric(labels, float(arm.modes.mode is Mode.ACTIVE))
            info.add_metric(labels, {"mode": arm.modes.mode.value, "fingerprint": arm.fingerprint})
            if arm.last_transition is not None:
                changed.add_metric(labels, arm.last_transition.at_ns / NS_PER_S)
            for key, count in arm.transition_counts.items():
                transitions.add_metric([*labels, *key], count)
            for mode, seconds in arm.seconds_in_mode.items():
                spent.add_metric([*labels, mode.value], seconds)
        yield from (active, info, changed, transitions, spent)

    def _triggers(self) -> Iterator[Metric]:
        keys = ("schedule_active", "market_active", "trades_per_min", "quote_updates_per_sec",
                "spread_bps", "volatility_bps", "volume_usd")  # fmt: skip
        families = {
            key: GaugeMetricFamily(names.TRIGGER + key, f"Mode trigger: {key}.", labels=ARM_LABELS) for key in keys
        }
        for symbol, arm in self._arms():
            labels = [symbol, arm.name]
            families["schedule_active"].add_metric(labels, float(arm.modes.schedule_active))
            families["market_active"].add_metric(labels, float(arm.modes.market_active))
            for key in keys[2:]:
                value = getattr(arm.activity, key) if arm.activity is not None else None
                families[key].add_metric(labels, math.nan if value is None else value)
        yield from families.values()

    def _signals(self) -> Iterator[Metric]:
        z = _family(names.SIGNAL_Z, [*ARM_LABELS, "signal"])
        exposure = _family(names.PAPER_EXPOSURE, ARM_LABELS)
        for symbol, arm in self._arms():
            for signal, value in zip(("ofi", "cvd"), arm.exported, strict=True):
                z.add_metric([symbol, arm.name, signal], math.nan if value is None else value)
            exposure.add_metric([symbol, arm.name], arm.paper.exposure())
        live = InfoMetricFamily(names.LIVE_INFO, names.HELP[names.LIVE_INFO], labels=["symbol"])
        fingerprints = self._host.live_fingerprints()
        for symbol, arm_name in self._host.live_arms().items():
            live.add_metric([symbol], {"arm": arm_name, "fingerprint": fingerprints[symbol]})
        yield from (z, exposure, live)


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
