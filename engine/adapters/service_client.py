"""The rollout's view of a running service: steer, scrape, collect."""

import math
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from engine import metrics as names
from engine.adapters.control_client import ControlledService
from engine.clock import Clock
from engine.errors import ServiceError

SCRAPE_TIMEOUT_S = 2.0
MAX_BODY = 64 << 20


class ServiceClient(ControlledService):
    """Steers the service whose state folder is given, and collects from it; finds its port there."""

    def __init__(self, state_dir: Path, clock: Clock) -> None:
        super().__init__(state_dir / "control.sock")
        self._state_dir = state_dir
        self._clock = clock

    def windows(self, after: int) -> dict[str, Any]:
        """Windows with a number above `after`: {boot, last, windows}. Raises ServiceError."""
        try:
            answer = self._get(f"/windows?after={after}")
            return dict(answer.json())
        except (httpx.HTTPError, ValueError) as error:
            raise ServiceError(f"the service does not deliver windows ({error})") from error

    def scrape(self) -> dict[str, Any]:
        """Return one operations row. A failed scrape is a row too; what is unknown is None."""
        started_ns = self._clock.mono_ns()
        row: dict[str, Any] = {
            "at_ns": self._clock.now_ns(), "scrape_ok": False, "scrape_ms": None, "service_boot": None,
            "clock_ns": None, "cpu_s": None, "rss_mb": None, "update_p99_ms": None, "critical_alerts": None,
            "error": None,
        }  # fmt: skip
        try:
            health = self._get("/healthz").json()
            row |= _readings(self._get("/metrics").text)
            row |= {"service_boot": health["boot"], "clock_ns": health["clock_ns"], "scrape_ok": True}
        except (httpx.HTTPError, OSError, ValueError, KeyError, ServiceError) as error:
            row["error"] = f"{type(error).__name__}: {error}"[:200]
        row["scrape_ms"] = (self._clock.mono_ns() - started_ns) / 1e6
        return row

    def _get(self, path: str) -> httpx.Response:
        try:
            port = int((self._state_dir / "http_port").read_text())
        except (OSError, ValueError) as error:
            raise ServiceError(f"the service in {self._state_dir} has no port yet") from error
        answer = httpx.get(
            f"http://127.0.0.1:{port}{path}", timeout=SCRAPE_TIMEOUT_S, follow_redirects=False, trust_env=False
        )
        answer.raise_for_status()
        if len(answer.content) > MAX_BODY:
            raise ServiceError(f"the answer to {path} has {len(answer.content)} bytes, more than {MAX_BODY}")
        return answer


def _readings(exposition: str) -> dict[str, Any]:
    values: dict[str, float] = {}
    buckets: list[tuple[float, float]] = []
    alerts = 0.0
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if sample.name == f"{names.PARAMS_UPDATE_MS}_bucket":
                buckets.append((float(sample.labels["le"]), sample.value))
            elif sample.name == f"{names.CRITICAL_ALERTS}_total":
                alerts += sample.value
            elif sample.name in (f"{names.CPU_SECONDS}_total", names.RSS_BYTES):
                values[sample.name] = sample.value
    return {
        "cpu_s": values[f"{names.CPU_SECONDS}_total"],
        "rss_mb": values[names.RSS_BYTES] / 2**20,
        "update_p99_ms": _quantile_bound(buckets, 0.99),
        "critical_alerts": alerts,
    }


def _quantile_bound(buckets: list[tuple[float, float]], share: float) -> float | None:
    """Upper edge of the bucket in which the quantile lies; None without observations or beyond the last edge."""
    if not buckets or buckets[-1][1] == 0:
        return None
    edge = next((le for le, count in sorted(buckets) if count >= share * buckets[-1][1]), math.inf)
    return edge if math.isfinite(edge) else 1e9
