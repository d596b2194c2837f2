"""Problem details (RFC 9457): what a refused or failed request is answered with, and nothing more.

The one place where the engine's refusals meet HTTP statuses.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from litestar import Response
from msgspec import Struct

from api.http.metrics import unavailabilities
from api.http.options import methods_of_path
from domain.actions import membership
from domain.kernel import refusals

if TYPE_CHECKING:
    from litestar import Request
    from litestar.connection import ASGIConnection
    from litestar.exceptions import HTTPException, ValidationException

log = structlog.get_logger()

PROBLEM_MEDIA_TYPE = "application/problem+json"
TYPE_BASE = "/api/v1/docs/problems#"
"""A problem's `type` is its paragraph in the served documentation."""

STATUSES: dict[type[refusals.Refusal], int] = {
    refusals.Invalid: 422,
    refusals.IdempotencyKeyReused: 422,
    refusals.Unauthenticated: 401,
    refusals.InvalidCredentials: 401,
    refusals.Forbidden: 403,
    refusals.WrongPassword: 403,
    refusals.OrganizerApprovalRequired: 403,
    refusals.OrganizerSignupClosed: 403,
    refusals.EventNotFound: 404,
    refusals.BookingNotFound: 404,
    refusals.UserNotFound: 404,
    refusals.SoldOut: 409,
    refusals.PerUserLimit: 409,
    refusals.NotOnSale: 409,
    refusals.EventStarted: 409,
    refusals.EventCancelled: 409,
    refusals.EventOver: 409,
    refusals.CapacityBelowSold: 409,
    refusals.EmailTaken: 409,
    refusals.LastAdmin: 409,
    membership.SelfBan: 409,
    refusals.VersionMismatch: 412,
    refusals.RateLimited: 429,
    refusals.Unavailable: 503,
    refusals.InventoryUnavailable: 503,
    refusals.PersistenceLagging: 503,
}
"""The status of each refusal. A test compares it with the classes there are."""

LOG_UNAVAILABLE_EVERY_S = 1.0

RETRY_AFTER_S = 1
"""When to come back after an unavailability that does not know better."""

CALLER_LEFT = "client disconnected prematurely"
"""What the framework says, as a fault of ours, of a body that never arrived whole."""

FRAMEWORK: dict[int, tuple[str, str]] = {
    400: ("bad_request", "The request cannot be understood"),
    404: ("not_found", "No such page"),
    405: ("method_not_allowed", "This path does not have this method"),
    408: ("request_timeout", "The request did not arrive in time"),
    413: ("body_too_large", "The body is too large"),
    414: ("uri_too_long", "The address is too long"),
    415: ("unsupported_media_type", "The body must be JSON"),
    417: ("expectation_failed", "The expectation is not known"),
    431: ("headers_too_large", "The header fields are too large"),
    500: ("internal_error", "Something went wrong here"),
    501: ("not_implemented", "The transfer coding is not known"),
}
"""Code and title of what is refused before the engine is asked."""


class MalformedBody(refusals.Refusal):
    """The body is not JSON, or not UTF-8."""

    code = "malformed_body"
    title = "The body is not JSON"


class UnsupportedMediaType(refusals.Refusal):
    """The body says that it is something else than JSON in UTF-8, or in a content coding."""

    code = "unsupported_media_type"
    title = "The body must be JSON"


STATUSES |= {MalformedBody: 400, UnsupportedMediaType: 415}

PARAGRAPHS: dict[str, str] = {
    "malformed_body": "The body is not JSON in UTF-8. Nothing of it was read.",
    "invalid_request": "The body, a parameter or a header breaks a rule. `errors` lists every broken rule of the "
    "body, each with the JSON pointer of its field.",
    "idempotency_key_reused": "The `Idempotency-Key` made another booking before, or came with another body. Use a "
    "new key for a new booking; a retry repeats key and body.",
    "unauthenticated": "The request needs an access token in `Authorization: Bearer …`: one that is of the right "
    "kind, has not expired, and whose session was not ended by logout, a ban, a new password or another role.",
    "invalid_credentials": "There is no account that can be used with this e-mail address and this password.",
    "forbidden": "The caller's role, or its not being the owner, does not allow this.",
    "wrong_password": "`current_password` is not the account's password.",
    "organizer_approval_required": "Nobody becomes an organizer here without approval. Sign up as an attendee and "
    "ask an admin, who gives the account the role.",
    "organizer_signup_closed": "This service takes no new organizers. Sign up as an attendee.",
    "event_not_found": "There is no event with this id.",
    "booking_not_found": "There is no booking with this id, or it is somebody else's.",
    "user_not_found": "There is no user with this id.",
    "sold_out": "There are fewer places than asked for; `remaining` says how many. Nothing was taken. Places come "
    "back when bookings are cancelled.",
    "per_user_limit": "The account would hold more than `limit` tickets of this event; it has `already_booked`.",
    "not_on_sale": "The event takes no bookings now: `event_status` says why, `sales_open_at` when it opens.",
    "event_started": "It is too late to cancel the booking: its owner can until the event has started and its sales "
    "are closed, the event's organizer until the event is over.",
    "event_cancelled": "The event is cancelled and takes no changes any more.",
    "event_over": "The event took place: it cannot be cancelled any more, so that nobody's attendance is rewritten.",
    "capacity_below_sold": "The capacity asked for is below the `sold` places. Nothing was changed.",
    "email_taken": "Another account has this e-mail address, however it is spelled.",
    "last_admin": "There must be an admin. Make another one first.",
    "own_account": "Admins cannot ban the account they act with.",
    "version_mismatch": "Somebody else changed the event since the `ETag` of `If-Match` was read. It is now at "
    "`version`; read it again.",
    "rate_limited": "More requests than the limit `limit` allows, `quota` in `window_seconds`. Wait "
    "`retry_after_seconds`. Sold out is never answered with this.",
    "unavailable": "A server behind this one cannot be reached, or the inventory is being rebuilt. Nothing was "
    "taken; repeat the request, with its `Idempotency-Key`, after `retry_after_seconds`.",
    "persistence_lagging": "More bookings are accepted than are being saved. Nothing was taken; repeat the request "
    "after `retry_after_seconds`.",
    "bad_request": "The request is not HTTP as this server understands it.",
    "not_found": "There is nothing at this path, or an id in it is not a UUID.",
    "method_not_allowed": "The path exists, but not with this method; `Allow` lists those it has.",
    "request_timeout": "The request's header or body did not arrive in time.",
    "body_too_large": "A body has at most 64 KiB.",
    "uri_too_long": "Path and query are longer than any this service has.",
    "unsupported_media_type": "Bodies are JSON in UTF-8, without a content coding: send `Content-Type: "
    "application/json` and no `Content-Encoding`.",
    "headers_too_large": "The header has more than 100 fields or 32 KiB, or the extensions of chunks and the trailer "
    "have more than 16 KiB.",
    "expectation_failed": "`Expect` has something else than `100-continue`.",
    "not_implemented": "`Transfer-Encoding` has something else than `chunked`. Send the body as it is.",
    "internal_error": "A fault of this server, which was logged with the request's id.",
}
"""What the documentation says of each code."""


class ProblemDetails(Struct, frozen=True):
    """An RFC 9457 problem. The facts of a refusal are further members, named in the documentation of its `type`."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str


def status_of(refusal: type[refusals.Refusal]) -> int:
    """The status of a refusal, or of the nearest class it is one of."""
    return STATUSES.get(refusal) or next(STATUSES[cls] for cls in refusal.__mro__ if cls in STATUSES)


def on_refusal(request: Request[Any, Any, Any], refusal: refusals.Refusal) -> Response[bytes]:
    """Answer a refusal with its facts."""
    status, body, headers = refused(refusal, request_id=request_id(request))
    return Response(body, status_code=status, headers=headers, media_type=PROBLEM_MEDIA_TYPE)


def refused(refusal: refusals.Refusal, *, request_id: str) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and header fields that say a refusal."""
    status = status_of(type(refusal))
    if status == 503:  # noqa: PLR2004
        _log_unavailable(refusal)
    body = problem_body(
        status=status,
        code=refusal.code,
        title=refusal.title,
        detail=refusal.detail,
        instance=request_id,
        facts=refusal.facts,
    )
    return status, body, _headers(refusal)


def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Answer what the framework refuses."""
    status = status_of_exception(error)
    if status == 500:  # noqa: PLR2004
        return on_failure(request, error)
    code, title = FRAMEWORK[status]
    headers = error.headers or {}
    if status == 405:  # noqa: PLR2004
        headers = {"Allow": methods_of_path(request.app, request.scope["path"])}
    return problem(request, status=status, code=code, title=title, detail=PARAGRAPHS[code], headers=headers)


def status_of_exception(error: HTTPException) -> int:
    """The status that says what the framework refuses."""
    if error.detail == CALLER_LEFT:
        return 408
    return error.status_code if error.status_code in FRAMEWORK else _nearest(error.status_code)


def on_invalid_parameters(request: Request[Any, Any, Any], error: ValidationException) -> Response[bytes]:
    """Answer parameters that break a rule, in the words of our own 422; a body that is missing is no JSON."""
    faults = error.extra if isinstance(error.extra, list) else []
    if any(fault.get("source") == "body" for fault in faults):
        detail = "A body in JSON is needed."
        return on_refusal(request, MalformedBody(detail))
    errors = [{"pointer": f"/{fault.get('key', '')}", "message": _without_value(fault["message"])} for fault in faults]
    detail = "A parameter breaks a rule."
    return on_refusal(request, refusals.Invalid(detail, errors=errors))


def on_failure(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer a fault of ours without saying what it was, and log it."""
    log.error(
        "request_failed",
        request_id=request_id(request),
        path=request.scope.get("path_template", ""),
        exc_info=error,
    )
    code, title = FRAMEWORK[500]
    return problem(request, status=500, code=code, title=title, detail=PARAGRAPHS[code])


def problem(  # noqa: PLR0913  (the members of a problem)
    connection: ASGIConnection[Any, Any, Any, Any],
    *,
    status: int,
    code: str,
    title: str,
    detail: str,
    headers: dict[str, str] | None = None,
) -> Response[bytes]:
    """A response that is a problem."""
    body = problem_body(status=status, code=code, title=title, detail=detail, instance=request_id(connection), facts={})
    return Response(body, status_code=status, headers=headers, media_type=PROBLEM_MEDIA_TYPE)


def problem_body(  # noqa: PLR0913  (the members of a problem)
    *, status: int, code: str, title: str, detail: str, instance: str, facts: dict[str, Any]
) -> bytes:
    """A problem as JSON."""
    standard = msgspec.structs.asdict(ProblemDetails(TYPE_BASE + code, title, status, detail, instance, code))
    return msgspec.json.encode(standard | facts | standard)


def request_id(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """The id of this request, as the envelope chose it."""
    return str(connection.scope.get("request_id", ""))


_logged_unavailable_s = -math.inf


def _log_unavailable(refusal: refusals.Refusal) -> None:
    """Count why it is, and log it once a second: while a server is away, thousands of requests find out."""
    global _logged_unavailable_s  # noqa: PLW0603  (one clock for the process)
    cause = type(refusal.__cause__).__name__ if refusal.__cause__ else None
    unavailabilities.count(reason=refusal.detail, cause=cause or "")
    now_s = time.monotonic()
    if now_s - _logged_unavailable_s >= LOG_UNAVAILABLE_EVERY_S:
        _logged_unavailable_s = now_s
        log.warning("unavailable", code=refusal.code, detail=refusal.detail, cause=cause)


def _headers(refusal: refusals.Refusal) -> dict[str, str]:
    """The header fields that say the same as the refusal's facts."""
    headers = {}
    if isinstance(refusal, UnsupportedMediaType):
        headers["Accept-Encoding"] = "identity"
    if isinstance(refusal, (refusals.Unauthenticated, refusals.InvalidCredentials)):
        headers["WWW-Authenticate"] = "Bearer"
    unavailable = isinstance(refusal, refusals.Unavailable)
    retry_s = refusal.facts.get("retry_after_seconds", RETRY_AFTER_S if unavailable else None)
    if retry_s is not None:
        headers["Retry-After"] = str(retry_s)
    if isinstance(refusal, refusals.RateLimited) and "limit" in refusal.facts:
        name, facts = refusal.facts["limit"], refusal.facts
        headers["RateLimit-Policy"] = f'"{name}";q={facts["quota"]};w={facts["window_seconds"]}'
        headers["RateLimit"] = f'"{name}";r=0;t={retry_s}'
    return headers


def _nearest(status: int) -> int:
    return 500 if status >= 500 else 400  # noqa: PLR2004


def _without_value(message: str) -> str:
    """The framework's message, unless it repeats what the caller sent."""
    return message if message.startswith("Expected") else "is not valid"
