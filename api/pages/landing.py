"""The landing page: what this service is, and the events on sale."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, Response, get

from api.access.declarations import ANYONE, access
from api.pages.html import page


class LandingController(Controller):
    """The landing page for visitors."""

    include_in_schema = False

    @get("/", **access(ANYONE))
    async def landing(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """A page that reads the events from the API."""
        return page("landing").response(request.scope)
