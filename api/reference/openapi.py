"""The OpenAPI 3.1 document: made from the framework's knowledge of the routes and from their declarations."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Litestar
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, License, SecurityScheme, Tag
from litestar.routes import HTTPRoute

from api.access.cookies import COOKIE, SECURE_COOKIE, SESSION
from api.access.declarations import EVERYBODY, UNLIMITED, declared_access
from api.http.bodies import JsonBody
from api.http.options import shape
from api.http.problems import statuses_by_code
from api.http.response_headers import ALWAYS, LIMITS, header_components, headers_of
from api.reference.answers import ANSWERS, MORE_ANSWERS
from api.reference.examples import EXAMPLES
from api.reference.problem_schemas import DEFAULT_RESPONSE, Problems
from api.routes import api_routes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from litestar.handlers import HTTPRouteHandler

    from api.access.declarations import Access

TAGS = [
    Tag("Authentication", "Accounts, sessions and tokens."),
    Tag("Caller", "The account that calls."),
    Tag("Events", "Events and their sales."),
    Tag("Ticket types", "What an event sells: ticket types, pools and promo codes."),
    Tag("Bookings", "Book tickets, follow a booking, cancel it."),
    Tag("Payments", "Pay for bookings, and confirm what was paid and refunded."),
    Tag("Administration", "For admins. Each action is written to the audit log."),
    Tag("Service", "For operators: health and metrics."),
]

DESCRIPTION = """
A booking engine: every ticket is sold once, and no accepted booking is lost.

Sign up, log in, and send the access token as `Authorization: Bearer …`. A booking is accepted with 202 as
soon as its tickets are taken. It is `confirmed` once it is in the database, usually a moment later: follow its
`Location`, or send `Prefer: wait=N`. Send an `Idempotency-Key` with each booking, so that a retry cannot book
twice. Errors are problem details (RFC 9457); their `type` links to [their explanation](/api/v1/docs/problems).
"""

HEADERS: dict[str, dict[str, Any]] = {
    "Idempotency-Key": {
        "description": "The same key and body always return the same booking. With another body, a key is refused.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    },
    "Prefer": {
        "description": "`wait=N`: answer when the booking changes, after at most N seconds, up to 30 (RFC 7240).",
        "schema": {"type": "string", "examples": ["wait=10"]},
    },
    "If-None-Match": {
        "description": "The `ETag` of the version that the caller has. The answer is 304 while it is current.",
        "schema": {"type": "string"},
    },
    "If-Match": {
        "description": "The `ETag` of the version to be changed. The answer is 412 if it has changed since.",
        "schema": {"type": "string"},
    },
    "Stripe-Signature": {
        "description": "The signature of Stripe: `t=seconds,v1=…`, by the secret of the webhook.",
        "schema": {"type": "string"},
    },
    "Last-Event-ID": {
        "description": "For a reader that reconnects to a stream: the id of the last event that it received.",
        "schema": {"type": "string"},
    },
    SESSION: {
        "description": "For pages of this origin: the tokens are kept in cookies that scripts cannot read. "
        "`secure-cookie` if the page was loaded over TLS.",
        "schema": {"type": "string", "examples": [COOKIE, SECURE_COOKIE]},
    },
}
"""The request headers that routes declare."""

BODY_PROBLEMS = ("malformed_body", "bad_request", "body_too_large", "unsupported_media_type")
"""The codes with which any body can be refused before its fields are checked."""

_GENERIC = re.compile(rb'(?:Counted)?Page_(?:\w+\.)*(\w+)_(?=")')
"""The framework's name of a page; it contains the module of the items."""

_SCHEMA = re.compile(r"#/components/schemas/(\w+)")

_PARAMETER = re.compile(r"{[^}]+}")


@cache
def openapi_document() -> bytes:
    """The document as JSON. It is made by a separate application that serves no requests."""
    described = Litestar(
        api_routes(),
        dto=JsonBody,
        return_dto=None,
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title="Onsale",
            version="1",
            description=DESCRIPTION.strip(),
            license=License("MIT", identifier="MIT"),
            tags=TAGS,
            use_handler_docstrings=True,
            operation_id_creator=_operation_id,
            components=Components(
                security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")}
            ),
        ),
    )
    document: dict[str, Any] = described.openapi_schema.to_schema()
    problems = Problems()
    for operation, declared in _operations(described, document):
        operation.setdefault("parameters", []).extend(_header(name) for name in declared.reads)
        operation["summary"], _, _ = operation["description"].partition(".")
        operation["responses"] = _responses(operation, declared, problems)
        operation["security"] = [{"bearer": []}] if declared.roles else []
        _say_who(operation, declared)
    document = _plain(document)
    components = document["components"]
    # In one order in every process, so that one validator fits all of them.
    schemas = components["schemas"] = dict(sorted((problems.schemas | components["schemas"]).items()))
    components |= {"headers": header_components(), "responses": dict(sorted(problems.responses.items()))}
    for name in _body_schemas(document):
        schemas[name]["additionalProperties"] = False
    for name, example in EXAMPLES.items():
        schemas[name]["examples"] = [example]
    document["paths"] = _merged(document["paths"])
    return _GENERIC.sub(rb"\1Page", msgspec.json.encode(document))


def _operations(app: Litestar, document: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Access]]:
    """Every operation of the document with the declaration of its route."""
    for route in app.routes:
        item = document["paths"].get(getattr(route, "path_format", ""), {})
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else []:
            for method in handler.http_methods:
                declared = declared_access(handler)
                if declared and method.lower() in item:
                    yield item[method.lower()], declared


def _operation_id(handler: HTTPRouteHandler, _method: str, _path: Sequence[object]) -> str:
    """The resource and the action, for example `bookings_create`."""
    return f"{handler.fn.__module__.rpartition('.')[2]}_{handler.handler_name}"


def _header(name: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, **HEADERS[name]}


def _responses(operation: dict[str, Any], declared: Access, problems: Problems) -> dict[str, Any]:
    """The answers of an operation: successes with their header fields, refusals, and any other problem."""
    usual = {"description": ANSWERS[operation["operationId"]]}
    successes = {status: response | usual for status, response in operation["responses"].items() if status < "400"}
    successes |= MORE_ANSWERS.get(operation["operationId"], {})
    limits = () if declared.limit == UNLIMITED else LIMITS
    found = {
        status: response | {"headers": headers_of(*ALWAYS, *limits, *declared.sends.get(int(status), ()))}
        for status, response in successes.items()
    }
    by_status: dict[int, set[str]] = {}
    for code in _codes(operation, declared):
        by_status.setdefault(statuses_by_code()[code], set()).add(code)
    found |= {str(status): problems.response(status, codes) for status, codes in by_status.items()}
    return {status: found[status] for status in sorted(found)} | {
        "default": {"$ref": f"#/components/responses/{DEFAULT_RESPONSE}"}
    }


def _codes(operation: dict[str, Any], declared: Access) -> set[str]:
    """The codes of the problems with which an operation can answer."""
    codes = {"internal_error"} | {refusal.code for refusal in declared.refuses}
    if "requestBody" in operation:
        codes.update(BODY_PROBLEMS)
    if any(parameter["in"] == "path" for parameter in operation["parameters"]):
        # A path whose id is not a UUID is not found.
        codes.add("not_found")
    return codes


def _plain(part: Any) -> Any:  # noqa: ANN401  (any part of the document)
    """The document with each choice of one schema replaced by the schema: `{"oneOf": [X]}` becomes X."""
    if isinstance(part, list):
        return [_plain(each) for each in part]
    if not isinstance(part, dict):
        return part
    plain = {name: _plain(value) for name, value in part.items()}
    if len(plain.get("oneOf", ())) == 1:
        (only,) = plain.pop("oneOf")
        return only | plain
    return plain


def _say_who(operation: dict[str, Any], declared: Access) -> None:
    """Add the roles that may call an operation to its description."""
    who = ", ".join(sorted(declared.roles)) if declared.roles and declared.roles != EVERYBODY else ""
    operation["description"] += f"\n\nFor: {who or ('every role' if declared.roles else 'anyone')}."


def _body_schemas(document: dict[str, Any]) -> set[str]:
    """The schemas of request bodies; they refuse unknown fields."""
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    bodies = [operation["requestBody"] for operation in operations if "requestBody" in operation]
    return set(_SCHEMA.findall(json.dumps(bodies)))


def _merged(paths: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Merge paths that differ only in the name of a parameter; they are one path (OpenAPI 3.1, 4.8.8)."""
    alike: dict[str, list[str]] = {}
    for path in sorted(paths):
        alike.setdefault(shape(path), []).append(path)
    merged: dict[str, dict[str, Any]] = {}
    for group in alike.values():
        name = group[0] if len(group) == 1 else _PARAMETER.sub("{id}", group[0])
        merged[name] = {}
        for path in group:
            merged[name] |= paths[path] if len(group) == 1 else _renamed(paths[path])
    return merged


def _renamed(item: dict[str, Any]) -> dict[str, Any]:
    for operation in item.values():
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path":
                parameter["description"] = f"The `{parameter['name']}`."
                parameter["name"] = "id"
    return item
