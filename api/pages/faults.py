"""Refused and failed requests of pages, answered as pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar.exceptions import HTTPException, ValidationException

from api.http.problems import on_http_exception, on_invalid_parameters, on_refusal
from api.pages.rendering import POLICY, rendered
from domain.kernel.refusals import RateLimited, Refusal, Unavailable

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from litestar import Request, Response
    from litestar.types import ExceptionHandler

HEADINGS = {
    404: "There is nothing here",
    422: "This address is not complete",
    429: "One moment, please",
    503: "We will be right back",
}

UNAVAILABLE = "A part of this service is not reachable. Nothing is lost: bookings that were accepted stay."
MISSING = "The event or page does not exist, or its address has a typing error."

WAITING = frozenset({429, 503})
"""Statuses after which the page asks again by itself, without a script."""


def _on_refusal(request: Request[Any, Any, Any], refusal: Refusal) -> Response[bytes]:
    return _page(request, on_refusal(request, refusal), refusal.detail)


def _on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    return _page(request, on_http_exception(request, error), "")


def _on_invalid_parameters(request: Request[Any, Any, Any], error: ValidationException) -> Response[bytes]:
    return _page(request, on_invalid_parameters(request, error), "A part of the address is too long or misspelled.")


ON_FAULTS: MutableMapping[int | type[Exception], ExceptionHandler[Any]] = {
    Refusal: _on_refusal,
    RateLimited: _on_refusal,
    Unavailable: _on_refusal,
    ValidationException: _on_invalid_parameters,
    HTTPException: _on_http_exception,
}
"""The handlers of a controller of pages. They name each class for which the application has another handler."""


def _page(request: Request[Any, Any, Any], problem: Response[bytes], detail: str) -> Response[bytes]:
    """The page for a problem. It has the status and the header fields of the problem."""
    del request
    status = problem.status_code or 500
    shown = rendered(
        "fault",
        width="narrow",
        heading=HEADINGS.get(status, "Something went wrong"),
        detail={404: MISSING, 503: UNAVAILABLE}.get(status, detail),
        retry_s=problem.headers.get("Retry-After") if status in WAITING else None,
    )
    problem.content = shown.plain.content
    problem.media_type = "text/html"
    problem.headers |= {"Content-Security-Policy": POLICY}
    return problem
