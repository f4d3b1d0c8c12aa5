"""The embedded Prefect server: started on the loopback, closed to other pages, found again when it runs."""

import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx

from engine.adapters.processes import pid_of, start, until
from engine.errors import GraygateError

PREFECT_START_S = 120.0


def prefect_environment(home: Path, port: int) -> dict[str, str]:
    """Settings of the embedded server and of everything that talks to it: loopback, closed to other pages."""
    own = f"http://127.0.0.1:{port}"
    return {
        "PREFECT_HOME": str(home.resolve()),
        "PREFECT_API_URL": f"{own}/api",
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_UI_API_URL": f"{own}/api",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": own,
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "DO_NOT_TRACK": "1",
        # A proxy of the machine is never asked for the loopback.
        "NO_PROXY": "127.0.0.1,localhost",
    }


def start_prefect(home: Path) -> dict[str, str]:
    """Start the embedded Prefect server, or find it running; return the environment its clients need."""
    home.mkdir(parents=True, exist_ok=True)
    port = _remembered_port(home)
    environment = prefect_environment(home, port)
    if pid_of("prefect", home) is None:
        start("prefect", [sys.executable, "-m", "prefect", "server", "start"], home, environment)
    return environment


def wait_for_prefect(home: Path, environment: Mapping[str, str]) -> None:
    """Return once the server is healthy. Raises GraygateError with what it said last."""
    health = f"{environment['PREFECT_API_URL']}/health"
    if not until(lambda: _is_healthy(health) or pid_of("prefect", home) is None, PREFECT_START_S) or not _is_healthy(
        health
    ):
        last = (home / "prefect.log").read_text().strip().splitlines()[-1:] or ["it wrote nothing"]
        raise GraygateError(f"the Prefect server did not start: {last[0]} (see {home / 'prefect.log'})")


def _remembered_port(home: Path) -> int:
    path = home / "port"
    if pid_of("prefect", home) is not None:
        return int(path.read_text())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    path.write_text(str(port))
    return port


def _is_healthy(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
