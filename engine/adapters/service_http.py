"""The service over HTTP on the loopback: health, metrics, windows. Read only."""

import json

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from engine import metrics as names
from engine.adapters.exporter import HostCollector
from engine.adapters.runtime import Runtime

MAX_ROWS = 2_000


def make_app(runtime: Runtime) -> Starlette:
    """Build the application over a runtime."""
    registry = CollectorRegistry()
    registry.register(HostCollector(runtime.host, runtime.tally))
    updates = Histogram(
        names.PARAMS_UPDATE_MS, names.HELP[names.PARAMS_UPDATE_MS], buckets=names.UPDATE_BUCKETS_MS, registry=registry
    )

    async def healthz(_: Request) -> Response:
        return JSONResponse({"ok": True, **runtime.status()})

    async def readyz(_: Request) -> Response:
        ready = bool(runtime.host.folding.memory.market["has_quote"].all())
        return JSONResponse({"ready": ready}, status_code=200 if ready else 503)

    async def metrics(_: Request) -> Response:
        while runtime.update_ms:
            updates.observe(runtime.update_ms.pop(0))
        return PlainTextResponse(generate_latest(registry), media_type="text/plain; version=0.0.4")

    async def windows(request: Request) -> Response:
        try:
            after = int(request.query_params.get("after", "0"))
        except ValueError:
            return JSONResponse({"error": "after must be a whole number"}, status_code=400)
        last, rows = runtime.log.after(after, MAX_ROWS)
        body = f'{{"boot":{json.dumps(runtime.boot)},"last":{last},"windows":[{",".join(rows)}]}}'
        return Response(body, media_type="application/json")

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            Route("/windows", windows),
        ]
    )
