"""The application: the outermost middleware, the fast path, and the framework with every controller."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog
from litestar import Litestar, Router
from litestar.exceptions import HTTPException, ValidationException

from api.access.cookies import SESSION
from api.access.declarations import check_declared, declared_access
from api.access.middleware import AccessMiddleware
from api.context import STATE, open_process, rules_of
from api.fast_path import FastPath
from api.http import options
from api.http.bodies import BODY_BYTES_MAX, JsonBody
from api.http.cors import Cors
from api.http.middleware import Envelope
from api.http.problems import on_failure, on_http_exception, on_invalid_parameters, on_refusal
from api.pages.buyers import BuyersController
from api.pages.paying import PayingController
from api.reads.server_sent_events import LAST_EVENT_ID, stream_to_retry
from api.reference.docs import DocsController
from api.reference.openapi import HEADERS
from api.routes import PREFIX, api_routes
from domain.background.passes import end
from domain.background.rebuilding import keep_watch
from domain.kernel.refusals import RateLimited, Refusal, Unavailable
from domain.platform.garbage_collection import spare_what_stays

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from litestar import Request, Response
    from litestar.types import ASGIApp

    from domain.platform.settings import Settings

log = structlog.get_logger()

CROSS_ORIGIN_HEADERS = ["Authorization", "Content-Type", *(HEADERS.keys() - {SESSION}), "X-Request-Id"]
"""The header fields that pages of named origins may send. The cookies are for pages of this origin alone."""


def create_app(settings: Settings) -> ASGIApp:
    """The ASGI application. Its lifespan opens the stores. That contacts no server, so it also starts without servers.

    Raises:
        Undeclared: a route does not declare who may call it, and how often.
    """
    app = create_litestar(settings)
    return Envelope(
        FastPath(app),
        cors=Cors(settings.cors_origins, request_headers=CROSS_ORIGIN_HEADERS),
        hosts=settings.allowed_hosts,
        methods=options.methods_of_server(app),
        logs_requests=settings.request_log == "on",
    )


def create_litestar(settings: Settings) -> Litestar:
    """The application without its outermost middleware and its fast path."""
    app = Litestar(
        [*api_routes(), Router(PREFIX, route_handlers=[DocsController]), BuyersController, PayingController],
        middleware=[AccessMiddleware],
        exception_handlers={
            Refusal: on_refusal,
            RateLimited: on_refusal_of_stream,
            Unavailable: on_refusal_of_stream,
            ValidationException: on_invalid_parameters,
            HTTPException: on_http_exception,
            Exception: on_failure,
        },
        dto=JsonBody,
        return_dto=None,
        lifespan=[_serving(settings)],
        request_max_body_size=BODY_BYTES_MAX,
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    check_declared(app, rules_of(settings))
    app.state[options.STATE] = options.methods_by_shape(app)
    return app


def on_refusal_of_stream(request: Request[Any, Any, Any], refusal: RateLimited | Unavailable) -> Response[bytes]:
    """Answer a refusal that passes; on a route with a stream, so that a reader which reconnects comes back."""
    declared = declared_access(request.scope["route_handler"])
    if declared is None or LAST_EVENT_ID not in declared.reads:
        return on_refusal(request, refusal)
    try:
        return stream_to_retry(request.scope, refusal)
    except Refusal:
        return on_refusal(request, refusal)


def _serving(settings: Settings) -> Callable[[Litestar], Any]:
    """The lifespan of a process: its stores are open while it serves."""

    @asynccontextmanager
    async def serving(app: Litestar) -> AsyncIterator[None]:
        async with open_process(settings) as process:
            try:
                await process.stores.scripts.refresh()
            except Unavailable:
                # The epoch is read at the first request, once PostgreSQL answers.
                log.warning("started_without_database")
            app.state[STATE] = process
            spare_what_stays()
            watching = asyncio.create_task(keep_watch(process.stores))
            try:
                yield
            finally:
                await end([watching])

    return serving
