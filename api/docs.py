"""The documentation, served without internet: OpenAPI, Swagger UI, ReDoc, and what each problem means."""

from __future__ import annotations

from litestar import Controller, Response, get
from litestar.params import FromPath

from api.access import ANYONE, access
from api.assets import asset
from api.openapi import openapi_document
from api.pages import page, problems_page

_KEPT = {"Cache-Control": "public, max-age=3600"}
"""What changes only with a new version."""


class DocsController(Controller):
    """Pages about this API."""

    include_in_schema = False

    @get("/openapi.json", **access(ANYONE))
    async def openapi(self) -> Response[bytes]:
        """The OpenAPI 3.1 document."""
        return Response(openapi_document(), media_type="application/json", headers=_KEPT)

    @get("/docs", **access(ANYONE))
    async def swagger(self) -> Response[bytes]:
        """Swagger UI."""
        return page("swagger").response()

    @get("/redoc", **access(ANYONE))
    async def redoc(self) -> Response[bytes]:
        """ReDoc."""
        return page("redoc").response()

    @get("/docs/problems", **access(ANYONE))
    async def problems(self) -> Response[bytes]:
        """Every code an error can have, and what to do about it."""
        return problems_page().response()

    @get("/docs/assets/{name:str}", **access(ANYONE))
    async def assets(self, name: FromPath[str]) -> Response[bytes]:
        """A script or style of the pages above, from an installed package."""
        found = asset(name)
        return Response(found.content, media_type=found.media_type, headers=_KEPT)
