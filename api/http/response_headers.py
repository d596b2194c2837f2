"""The header fields of answers: which there are, what they mean, which answers have them.

The OpenAPI document and the list of fields that CORS exposes are made from this table. A route names the fields
that only some answers have in `access(…, sends=…)`. Fields of HTTP itself (Date, Content-Length, Connection,
Transfer-Encoding), Content-Type, which the document says by the content, and the Access-Control fields, which
depend on the setting CORS_ORIGINS, are not in it.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class ResponseHeader(Struct, frozen=True, kw_only=True):
    """A header field of answers.

    `required` says that every answer which declares the field has it, `exposed` that scripts of other origins may
    read it (CORS).
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
    "X-Request-Id": ResponseHeader(description="The id of the request: the caller's, if it is sane.", required=True),
    "Cache-Control": ResponseHeader(
        description="Whether the answer may be kept (RFC 9111).", required=True, exposed=False
    ),
    "Content-Security-Policy": ResponseHeader(
        description="What a page may load and run.", required=True, exposed=False
    ),
    "Referrer-Policy": ResponseHeader(description="Always `no-referrer`.", required=True, exposed=False),
    "X-Content-Type-Options": ResponseHeader(description="Always `nosniff`.", required=True, exposed=False),
    "X-Frame-Options": ResponseHeader(description="Always `DENY`.", required=True, exposed=False),
    "Strict-Transport-Security": ResponseHeader(description="Over TLS only (RFC 6797).", exposed=False),
    "RateLimit": ResponseHeader(
        description='What is left of the limit: `"name";r=requests;t=seconds until it is full again`. '
        "Not on requests that were refused before they were counted, and not while limits are off."
    ),
    "RateLimit-Policy": ResponseHeader(description='The limit: `"name";q=requests;w=seconds`. As `RateLimit`.'),
    "Accept-Encoding": ResponseHeader(description="With 415: the content codings of bodies.", exposed=False),
    "Allow": ResponseHeader(description="With 405: the methods of the path.", exposed=False),
    "Content-Disposition": ResponseHeader(description="Of a file: its name.", exposed=False),
    "ETag": ResponseHeader(description="The version of what is shown, for `If-None-Match` and `If-Match`."),
    "Idempotent-Replayed": ResponseHeader(description="`true`: the `Idempotency-Key` made this booking before."),
    "Location": ResponseHeader(description="Where the thing that was made is found.", required=True),
    "Preference-Applied": ResponseHeader(description="The preference of `Prefer` that was followed (RFC 7240)."),
    "Retry-After": ResponseHeader(description="After how many seconds to ask again.", type="integer"),
    "Vary": ResponseHeader(description="Header fields of the request that the answer depends on.", exposed=False),
    "WWW-Authenticate": ResponseHeader(description="Always `Bearer`.", required=True, exposed=False),
    "X-Accel-Buffering": ResponseHeader(description="Of a stream: `no`, so that proxies pass it on.", exposed=False),
}
"""By the name of the field."""

ALWAYS = (
    "X-Request-Id",
    "Cache-Control",
    "Content-Security-Policy",
    "Referrer-Policy",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "Strict-Transport-Security",
)
"""The envelope's fields, on every answer; the last only over TLS."""

LIMITS = ("RateLimit", "RateLimit-Policy")
"""On every answer of a route that has a limit."""

EXPOSED = sorted(name for name, header in RESPONSE_HEADERS.items() if header.exposed)
"""What pages of other origins may read of an answer, besides what browsers always let them read."""


def headers_of(*names: str) -> dict[str, Any]:
    """The headers of a response in the document."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def header_components() -> dict[str, Any]:
    """Every field, as the document's components."""
    return {name: header.schema() for name, header in RESPONSE_HEADERS.items()}
