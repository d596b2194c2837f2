"""The header fields of answers, with their descriptions.

The OpenAPI document and the list of fields that CORS exposes are made from this table. A route declares the fields
that only some answers have in `access(…, sends=…)`. The table does not contain the fields of HTTP itself (Date,
Content-Length, Connection, Transfer-Encoding), Content-Type, which the document has as the media type, and the
Access-Control fields, which depend on the setting CORS_ORIGINS.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class ResponseHeader(Struct, frozen=True, kw_only=True):
    """A header field of answers.

    `required`: every answer that declares the field has it. `exposed`: scripts of other origins may read it (CORS).
    """

    description: str
    type: str = "string"
    required: bool = False
    exposed: bool = True

    def schema(self) -> dict[str, Any]:
        """The OpenAPI Header Object."""
        shown: dict[str, Any] = {"description": self.description}
        if self.required:
            shown["required"] = True
        return shown | {"schema": {"type": self.type}}


RESPONSE_HEADERS: dict[str, ResponseHeader] = {
    "X-Request-Id": ResponseHeader(description="The id of the request; the caller's, if it is valid.", required=True),
    "Onsale-Time": ResponseHeader(
        description="The server's time in milliseconds since 1970, by which to show how long a hold or a sale lasts.",
        type="integer",
        required=True,
    ),
    "Cache-Control": ResponseHeader(
        description="Whether the answer may be cached (RFC 9111).", required=True, exposed=False
    ),
    "Content-Security-Policy": ResponseHeader(
        description="The resources that a page may load.", required=True, exposed=False
    ),
    "Referrer-Policy": ResponseHeader(description="Always `no-referrer`.", required=True, exposed=False),
    "X-Content-Type-Options": ResponseHeader(description="Always `nosniff`.", required=True, exposed=False),
    "X-Frame-Options": ResponseHeader(description="Always `DENY`.", required=True, exposed=False),
    "Strict-Transport-Security": ResponseHeader(description="Sent over TLS only (RFC 6797).", exposed=False),
    "RateLimit": ResponseHeader(
        description='What is left of the limit: `"name";r=requests;t=seconds until it is fully available again`. '
        "Not sent for requests that were refused before they were counted, and not while limits are off."
    ),
    "RateLimit-Policy": ResponseHeader(description='The limit: `"name";q=requests;w=seconds`. Sent with `RateLimit`.'),
    "Accept-Encoding": ResponseHeader(description="With 415: the content codings that bodies may have.", exposed=False),
    "Allow": ResponseHeader(description="With 405: the methods of the path.", exposed=False),
    "Content-Disposition": ResponseHeader(description="The name of a file.", exposed=False),
    "ETag": ResponseHeader(description="The version of the resource, for `If-None-Match` and `If-Match`."),
    "Idempotent-Replayed": ResponseHeader(
        description="`true`: an earlier request with this `Idempotency-Key` made the booking."
    ),
    "Location": ResponseHeader(description="The URL of the created resource.", required=True),
    "Preference-Applied": ResponseHeader(description="The preference of `Prefer` that was applied (RFC 7240)."),
    "Retry-After": ResponseHeader(
        description="The number of seconds after which to repeat the request.", type="integer"
    ),
    "Set-Cookie": ResponseHeader(
        description="For cookie sessions: a token, in a cookie that scripts cannot read.", exposed=False
    ),
    "Vary": ResponseHeader(description="The header fields of the request on which the answer depends.", exposed=False),
    "WWW-Authenticate": ResponseHeader(description="Always `Bearer`.", required=True, exposed=False),
    "X-Accel-Buffering": ResponseHeader(
        description="For streams: `no`, so that proxies do not buffer them.", exposed=False
    ),
}
"""The header fields by name."""

ALWAYS = (
    "X-Request-Id",
    "Onsale-Time",
    "Cache-Control",
    "Content-Security-Policy",
    "Referrer-Policy",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "Strict-Transport-Security",
)
"""The fields of every answer; the last one only over TLS."""

LIMITS = ("RateLimit", "RateLimit-Policy")
"""The fields of every answer of a route with a limit."""

EXPOSED = sorted(name for name, header in RESPONSE_HEADERS.items() if header.exposed)
"""The fields that scripts of other origins may read, in addition to those that browsers always expose."""


def headers_of(*names: str) -> dict[str, Any]:
    """References to the headers of a response."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def header_components() -> dict[str, Any]:
    """Every header field as a component of the document."""
    return {name: header.schema() for name, header in RESPONSE_HEADERS.items()}
