"""The documentation, served without internet: OpenAPI, Swagger UI, ReDoc, and what each problem means."""

from __future__ import annotations

from functools import cache

import msgspec
from litestar import Controller, Litestar, Response, get
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, License, SecurityScheme, Tag
from litestar.params import FromPath

from api.access import ANYONE, access
from api.assets import Asset, asset
from api.pages import page, problems_page

TAGS = [
    Tag("Authentication", "Accounts, sessions and tokens."),
    Tag("Caller", "The account that calls."),
    Tag("Events", "What is on, and how it is sold."),
    Tag("Bookings", "Taking places, following a booking, giving places back."),
    Tag("Administration", "For admins; each action is written into the audit log."),
    Tag("Service", "For whoever runs it."),
]

DESCRIPTION = """
A booking engine: every place sold once, no accepted booking lost.

Sign up, log in, and send the access token as `Authorization: Bearer …`. A booking is accepted with 202 as
soon as its places are taken, and `confirmed` once it is in the database, usually within a moment: follow its
`Location`, or send `Prefer: wait=N`. Send an `Idempotency-Key` with each booking, so that a retry cannot book
twice. Errors are problem details (RFC 9457); their `type` leads to [what they mean](/api/v1/docs/problems).
"""


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
        found: Asset = asset(name)
        return Response(found.content, media_type=found.media_type, headers=_KEPT)


_KEPT = {"Cache-Control": "public, max-age=3600"}


@cache
def openapi_document() -> bytes:
    """The OpenAPI document of every controller."""
    from litestar import Router

    from api.app import CONTROLLERS, PREFIX
    from api.bodies import JsonBody
    from api.service import ServiceController

    described = Litestar(
        [Router(PREFIX, route_handlers=[*CONTROLLERS]), ServiceController],
        dto=JsonBody,
        return_dto=None,
        openapi_config=OpenAPIConfig(
            title="Onsale",
            version="1",
            description=DESCRIPTION.strip(),
            license=License("MIT", identifier="MIT"),
            tags=TAGS,
            use_handler_docstrings=True,
            components=Components(
                security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")}
            ),
        ),
    )
    return msgspec.json.encode(described.openapi_schema.to_schema())
