"""Problem details (RFC 9457): the answers to refused and failed requests.

Only this module maps the engine's refusals to HTTP statuses.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from litestar import Response
from litestar.exceptions import NotFoundException
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
"""The `type` of a problem is the URL of its paragraph in the served documentation."""

STATUSES: dict[type[refusals.Refusal], int] = {
    refusals.Invalid: 422,
    refusals.IdempotencyKeyReused: 422,
    refusals.SignatureInvalid: 400,
    refusals.Unauthenticated: 401,
    refusals.InvalidCredentials: 401,
    refusals.Forbidden: 403,
    refusals.WrongPassword: 403,
    refusals.OrganizerApprovalRequired: 403,
    refusals.OrganizerSignupClosed: 403,
    refusals.EventNotFound: 404,
    refusals.BookingNotFound: 404,
    refusals.PaymentNotFound: 404,
    refusals.UserNotFound: 404,
    refusals.SoldOut: 409,
    refusals.PerUserLimit: 409,
    refusals.NotOnSale: 409,
    refusals.TicketTypeNotFound: 404,
    refusals.PoolNotFound: 404,
    refusals.PromoCodeNotFound: 404,
    refusals.BelowMinimum: 409,
    refusals.AboveMaximum: 409,
    refusals.RequirementMissing: 409,
    refusals.PromoCodeInvalid: 409,
    refusals.PromoCodeUsedUp: 409,
    refusals.PromoCodeNotForThis: 409,
    refusals.PriceChanged: 409,
    refusals.TooManyHolds: 409,
    refusals.HoldExpired: 409,
    refusals.HoldAtCap: 409,
    refusals.InUse: 409,
    refusals.PromoCodeTaken: 409,
    refusals.MaxUsesBelowUsed: 409,
    refusals.AlreadyPaid: 409,
    refusals.AmountMismatch: 409,
    refusals.NotPayable: 409,
    refusals.PaymentStarted: 409,
    refusals.PaymentReferenceUsed: 409,
    refusals.EventStarted: 409,
    refusals.BookingOver: 409,
    refusals.MoreThanBooked: 409,
    refusals.CurrencyFixed: 409,
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
"""The status of each refusal. A test checks that no class is missing."""

LOG_UNAVAILABLE_EVERY_S = 1.0

RETRY_AFTER_S = 1
"""The default of `Retry-After` for an answer of 503."""

CALLER_LEFT = "client disconnected prematurely"
"""The framework's text for a body that did not arrive completely, which it raises as an internal error."""

FRAMEWORK: dict[int, tuple[str, str]] = {
    400: ("bad_request", "The request cannot be understood"),
    404: ("not_found", "Not found"),
    405: ("method_not_allowed", "The method is not allowed for this path"),
    408: ("request_timeout", "The request did not arrive in time"),
    413: ("body_too_large", "The body is too large"),
    414: ("uri_too_long", "The URL is too long"),
    415: ("unsupported_media_type", "The body must be JSON"),
    417: ("expectation_failed", "The expectation is not supported"),
    431: ("headers_too_large", "The header fields are too large"),
    500: ("internal_error", "Internal error"),
    501: ("not_implemented", "The transfer coding is not supported"),
}
"""Code and title of problems that occur before the engine is called."""


class MalformedBody(refusals.Refusal):
    """The body is not JSON in UTF-8, or it has two media types."""

    code = "malformed_body"
    title = "The body is not valid JSON"


class UnsupportedMediaType(refusals.Refusal):
    """The media type of the body is not JSON in UTF-8, or the body has a content coding."""

    code = "unsupported_media_type"
    title = "The body must be JSON"


STATUSES |= {MalformedBody: 400, UnsupportedMediaType: 415}

PARAGRAPHS: dict[str, str] = {
    "malformed_body": "The body is not JSON in UTF-8, or the request has two `Content-Type` fields. Nothing was "
    "changed.",
    "invalid_request": "The body, a parameter or a header field breaks a rule. `errors` lists every broken rule of the "
    "body, each with the JSON pointer of its field.",
    "idempotency_key_reused": "An earlier request with this `Idempotency-Key` made another booking or had another "
    "body. Use a new key for a new booking. A retry repeats both the key and the body.",
    "unauthenticated": "The request needs an access token in `Authorization: Bearer …`. The token must not have "
    "expired, and its session must not have ended by a logout, a ban, a new password or another role. Log in again.",
    "invalid_credentials": "No active account has this e-mail address and this password.",
    "forbidden": "The role of the account does not allow the request, or the resource belongs to another account.",
    "wrong_password": "`current_password` is not the password of the account.",
    "organizer_approval_required": "Accounts become organizers only with the approval of an admin. Sign up as an "
    "attendee and ask an admin for the role.",
    "organizer_signup_closed": "This service accepts no new organizers. Sign up as an attendee.",
    "event_not_found": "No event has this id.",
    "ticket_type_not_found": "The event has no ticket type with this id, or only buyers with a promo code see it.",
    "pool_not_found": "The event has no pool with this id.",
    "promo_code_not_found": "The event has no promo code with this id, or it is archived.",
    "in_use": "The change would contradict what depends on the thing. What a ticket type takes is fixed while bookings "
    "have tickets of it, the parent of a pool while tickets of it are taken. Ticket types use a pool until they are "
    "archived. Nothing was changed.",
    "promo_code_taken": "The event has a promo code of this text already; case makes no difference.",
    "max_uses_below_used": "The code was used `used` times already, by bookings and holds.",
    "min_per_booking": "At least `min_per_booking` tickets of the type must be booked together.",
    "max_per_booking": "At most `max_per_booking` tickets of the type can be booked together.",
    "requirement_missing": "Tickets of the type `ticket_type_id` are only for buyers with a ticket of the type "
    "`requires_type_id`. Add one to the order.",
    "promo_code_invalid": "The event has no such promo code, or the code cannot be used at this time.",
    "promo_code_used_up": "The code was used as often as it can be, by all buyers or by this account. A hold that ends "
    "gives its use back.",
    "promo_code_not_for_this": "The code is for none of the ticket types of the order.",
    "price_changed": "The total is not `expect_total_minor`. Show the buyer `total_minor`, and order again with a new "
    "key.",
    "too_many_holds": "The account has `limit` holds of the event. Pay or cancel one, or wait until one ends.",
    "booking_not_found": "No booking has this id, or the booking belongs to another account.",
    "payment_not_found": "No open payment has this id. It was paid, declined, or its hold has ended.",
    "user_not_found": "No user has this id.",
    "sold_out": "Fewer tickets are left than requested; `remaining` is the number that is left. Nothing was booked. "
    "Tickets become available again when bookings are cancelled.",
    "per_user_limit": "The account would hold more than `limit` tickets of this event. It holds `already_booked`.",
    "hold_expired": "The deadline of the hold has passed, and its tickets cannot be taken again: they are sold, or the "
    "event is not on sale any more. Order again with a new key.",
    "hold_at_cap": "The hold was extended as far as the event allows. Its deadline stays as it is.",
    "already_paid": "Another payment has paid for the booking. If money was received with this reference too, it goes "
    "back: it is part of `refund_due_minor` of the booking.",
    "amount_mismatch": "The amount or the currency is not the right one; `amount_minor` and `currency` are. Nothing "
    "was recorded.",
    "not_payable": "The booking cannot be paid: it is free, cancelled or rejected, or its event is paid in another "
    "way. If money was received, it goes back: it is part of `refund_due_minor` of the booking.",
    "payment_started": "The buyer has begun to pay for the booking. Its tickets can be changed when it is paid, or "
    "when its hold has ended.",
    "payment_reference_used": "Another booking of the event was paid with this reference. Nothing was recorded.",
    "signature_invalid": "The message is not signed with the secret of the webhook, or it is older than five minutes.",
    "not_on_sale": "The event does not accept bookings now. `event_status` says why, and `sales_open_at` when sales "
    "open.",
    "booking_over": "The booking is cancelled or rejected. It holds no tickets, so none can be given back.",
    "more_than_booked": "The booking has only `quantity` tickets of the type `ticket_type_id`. It can be changed to "
    "fewer tickets, not to more: order more in a new booking.",
    "event_started": "It is too late to cancel the booking, or tickets of it. The owner can cancel it until the event "
    "has started and its sales are closed, the organizer of the event until the event is over.",
    "event_cancelled": "A cancelled event cannot be changed.",
    "event_over": "An event that is over cannot be cancelled, because its bookings record who attended. What it sells "
    "cannot be changed any more.",
    "capacity_below_sold": "The requested capacity is less than `sold`, the number of tickets sold; the size of a pool "
    "is less than `sold` and `held` together. Nothing was changed.",
    "currency_fixed": "Tickets of the event were booked, so their prices are in its currency. Make another event.",
    "email_taken": "Another account has this e-mail address, possibly in another spelling.",
    "last_admin": "The account is the only admin. Make another account an admin first.",
    "own_account": "Admins cannot ban the account that they are logged in with.",
    "version_mismatch": "The event was changed after the `ETag` in `If-Match` was read. It is now at `version`; read "
    "it again.",
    "rate_limited": "The caller has sent more requests than the limit named `limit` allows: `quota` in "
    "`window_seconds`. Wait for `retry_after_seconds`. A sold-out event never causes this answer.",
    "unavailable": "A server that is needed cannot be reached, or the inventory is being rebuilt. Nothing was booked. "
    "Repeat the request with the same `Idempotency-Key` after `retry_after_seconds`.",
    "persistence_lagging": "More bookings are accepted than can be stored. Nothing was booked. Repeat the request "
    "after `retry_after_seconds`.",
    "bad_request": "The request is not valid HTTP, or this server does not understand it.",
    "not_found": "Nothing has this path, or an id in the path is not a UUID.",
    "method_not_allowed": "The path does not support this method. `Allow` lists the methods that it supports.",
    "request_timeout": "The header or the body of the request did not arrive in time.",
    "body_too_large": "The body is larger than 64 KiB.",
    "uri_too_long": "The path and the query together are too long.",
    "unsupported_media_type": "The body must be JSON in UTF-8 without a content coding. Send `Content-Type: "
    "application/json` and no `Content-Encoding`.",
    "headers_too_large": "The header has more than 100 fields or more than 32 KiB, or chunk extensions and trailer "
    "together have more than 16 KiB.",
    "expectation_failed": "`Expect` supports only `100-continue`.",
    "not_implemented": "`Transfer-Encoding` supports only `chunked`. Send the body without another coding.",
    "internal_error": "An error of the server. It was logged with the id of the request, which is `instance`.",
}
"""The explanation of each code in the documentation."""


class ProblemDetails(Struct, frozen=True):
    """A problem of RFC 9457. The facts of a refusal are further members; the documentation of its `type` names them."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str


def statuses_by_code() -> dict[str, int]:
    """The HTTP status of each code."""
    framework = {code: status for status, (code, _) in FRAMEWORK.items()}
    return framework | {refusal.code: status for refusal, status in STATUSES.items()}


def status_of(refusal: type[refusals.Refusal]) -> int:
    """The status of a refusal, or of its nearest base class that has one."""
    return STATUSES.get(refusal) or next(STATUSES[cls] for cls in refusal.__mro__ if cls in STATUSES)


def on_refusal(request: Request[Any, Any, Any], refusal: refusals.Refusal) -> Response[bytes]:
    """Answer a refusal that a handler of the framework raised."""
    return refusal_response(refusal, request_id=request_id(request))


def refusal_response(refusal: refusals.Refusal, *, request_id: str) -> Response[bytes]:
    """The answer to a refused request, with the refusal's facts."""
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
    return Response(body, status_code=status, headers=_headers(refusal), media_type=PROBLEM_MEDIA_TYPE)


def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """The answer to a request that the framework refuses."""
    status = status_of_exception(error)
    if status == 500:  # noqa: PLR2004
        return on_failure(request, error)
    headers = error.headers or {}
    if status == 405:  # noqa: PLR2004
        try:
            headers = {"Allow": methods_of_path(request.app, request.scope["path"])}
        except NotFoundException:
            # An id in the path is no id, so that no method has it.
            status = 404
    return problem(status, request_id=request_id(request), headers=headers)


def status_of_exception(error: HTTPException) -> int:
    """The status for an exception of the framework."""
    if error.detail == CALLER_LEFT:
        return 408
    return error.status_code if error.status_code in FRAMEWORK else _nearest(error.status_code)


def on_invalid_parameters(request: Request[Any, Any, Any], error: ValidationException) -> Response[bytes]:
    """The answer to parameters that break a rule; a missing body is answered as malformed."""
    faults = error.extra if isinstance(error.extra, list) else []
    if any(fault.get("source") == "body" for fault in faults):
        detail = "Send a body in JSON."
        return on_refusal(request, MalformedBody(detail))
    errors = [{"pointer": f"/{fault.get('key', '')}", "message": _without_value(fault["message"])} for fault in faults]
    detail = "A parameter breaks a rule; `errors` says which."
    return on_refusal(request, refusals.Invalid(detail, errors=errors))


def on_failure(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Log an internal error and answer without its details."""
    log.error(
        "request_failed",
        request_id=request_id(request),
        path=request.scope.get("path_template", ""),
        exc_info=error,
    )
    return problem(500, request_id=request_id(request))


def problem(status: int, *, request_id: str, headers: dict[str, str] | None = None) -> Response[bytes]:
    """The answer to a request that is refused before the engine is called, or that failed."""
    body = problem_content(status, request_id=request_id)
    return Response(body, status_code=status, headers=headers, media_type=PROBLEM_MEDIA_TYPE)


def problem_content(status: int, *, request_id: str) -> bytes:
    """The body of such an answer."""
    code, title = FRAMEWORK[status]
    return problem_body(status=status, code=code, title=title, detail=PARAGRAPHS[code], instance=request_id, facts={})


def problem_body(  # noqa: PLR0913  (the members of a problem)
    *, status: int, code: str, title: str, detail: str, instance: str, facts: dict[str, Any]
) -> bytes:
    """A problem as JSON."""
    standard = msgspec.structs.asdict(ProblemDetails(TYPE_BASE + code, title, status, detail, instance, code))
    return msgspec.json.encode(standard | facts | standard)


def request_id(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """The id of this request, which the middleware chose."""
    return str(connection.scope.get("request_id", ""))


_logged_unavailable_s = -math.inf


def _log_unavailable(refusal: refusals.Refusal) -> None:
    """Count the reason, and log it at most once a second: while a server is away, thousands of requests fail."""
    global _logged_unavailable_s  # noqa: PLW0603  (one clock for the process)
    cause = type(refusal.__cause__).__name__ if refusal.__cause__ else None
    unavailabilities.count(reason=refusal.detail, cause=cause or "")
    now_s = time.monotonic()
    if now_s - _logged_unavailable_s >= LOG_UNAVAILABLE_EVERY_S:
        _logged_unavailable_s = now_s
        log.warning("unavailable", code=refusal.code, detail=refusal.detail, cause=cause)


def _headers(refusal: refusals.Refusal) -> dict[str, str]:
    """The header fields that repeat facts of the refusal."""
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
    """The framework's message, or a general one if it could repeat a value of the request."""
    return message if message.startswith("Expected") else "is not valid"
