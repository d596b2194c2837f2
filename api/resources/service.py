"""Routes for operators: health and metrics."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, Response, get
from msgspec import structs

from api.access.declarations import ANYONE, UNLIMITED, access
from api.context import process
from api.http.metrics import MEDIA_TYPE, exposition
from api.http.server_scope import STOPPING
from domain.store.readiness import Readiness, check


class ServiceController(Controller):
    """Health and metrics, outside the versioned API."""

    tags = ("Service",)

    @get("/health/live", **access(ANYONE, limit=UNLIMITED))
    async def live(self) -> dict[str, str]:
        """Whether the process runs. It says nothing about the servers that it needs."""
        return {"status": "alive"}

    @get("/health/ready", **access(ANYONE, limit=UNLIMITED))
    async def ready(self, request: Request[Any, Any, Any]) -> Response[Readiness]:
        """Whether bookings can be taken now. If not, the answer is 503 and says what is missing.

        The status of a process that ends is `stopping`.
        """
        serving = process(request)
        readiness = await check(serving.stores, keys_current=serving.tokens.keys_current())
        if STOPPING in request.scope.get("state", ()):
            readiness = structs.replace(readiness, status=STOPPING)
        return Response(readiness, status_code=200 if readiness.ready else 503)

    @get("/metrics", **access(ANYONE, limit=UNLIMITED))
    async def metrics(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """Metrics of this process and of the inventory for Prometheus."""
        return Response(await exposition(process(request).stores), headers={"Content-Type": MEDIA_TYPE})
