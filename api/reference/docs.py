"""The documentation, which needs no internet: OpenAPI document, Swagger UI, ReDoc, and the explanation of problems."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

from litestar import Controller, Request, Response, get
from litestar.params import FromPath

from api.access.declarations import ANYONE, access
from api.pages.html import page, problems_page
from api.pages.static import KEPT, Static
from api.reference.assets import asset
from api.reference.openapi import openapi_document


class DocsController(Controller):
    """Pages about this API. Slow work of the first request runs in a thread."""

    include_in_schema = False

    @get("/openapi.json", **access(ANYONE))
    async def openapi(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """The OpenAPI 3.1 document."""
        return (await asyncio.to_thread(_document)).response(request.scope)

    @get("/docs", **access(ANYONE))
    async def swagger(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """Swagger UI."""
        return page("swagger").response(request.scope)

    @get("/redoc", **access(ANYONE))
    async def redoc(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """ReDoc."""
        return page("redoc").response(request.scope)

    @get("/docs/problems", **access(ANYONE))
    async def problems(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """Every code of a problem, and what to do about it."""
        return problems_page().response(request.scope)

    @get("/docs/assets/{name:str}", **access(ANYONE))
    async def assets(self, request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
        """A script or style of these pages, from an installed package."""
        return (await asyncio.to_thread(asset, name)).response(request.scope)


@cache
def _document() -> Static:
    return Static.of(openapi_document(), "application/json", kept=KEPT)
