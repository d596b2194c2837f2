"""Problems in the OpenAPI document: one schema for each code with its members, one response for codes of one status.

They are made from the same refusals and tables as the answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from api.http.problems import PARAGRAPHS, PROBLEM_MEDIA_TYPE, STATUSES, ProblemDetails
from api.http.response_headers import ALWAYS, LIMITS, headers_of

if TYPE_CHECKING:
    from collections.abc import Iterable

SCHEMAS = "#/components/schemas/"

CODES_SCHEMA = "ProblemCode"
"""The schema that lists every code."""

BASE_SCHEMA = "ProblemDetails"
"""The schema of a problem of any code."""

DEFAULT_RESPONSE = "Problem"
"""The response for problems that any request can meet, whatever its route."""

STATUS_HEADERS: dict[int, tuple[str, ...]] = {
    401: ("WWW-Authenticate",),
    415: ("Accept-Encoding",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}
"""The header fields that problems of a status have in addition to those of every answer."""


class Problems:
    """Collects the components that a document's operations refer to."""

    def __init__(self) -> None:
        self.schemas: dict[str, Any] = {}
        self.responses: dict[str, Any] = {}
        self._members = {refusal.code: refusal.members for refusal in STATUSES}
        self._optional = {refusal.code: refusal.optional for refusal in STATUSES}
        base = msgspec.json.schema(ProblemDetails)["$defs"][BASE_SCHEMA]
        base["properties"]["code"] = {"$ref": SCHEMAS + CODES_SCHEMA}
        self.schemas[CODES_SCHEMA] = {"title": CODES_SCHEMA, "type": "string", "enum": sorted(PARAGRAPHS)}
        self.schemas[BASE_SCHEMA] = base
        self.responses[DEFAULT_RESPONSE] = _response(
            "Any other problem: the server does not understand the request, or an internal error occurred.",
            SCHEMAS + BASE_SCHEMA,
            (*ALWAYS, *LIMITS, "Allow", "Retry-After"),
        )

    def response(self, status: int, codes: Iterable[str]) -> dict[str, str]:
        """A reference to the response for these codes, which all have this status."""
        ordered = sorted(set(codes))
        name = "Or".join(map(_pascal, ordered))
        if name not in self.responses:
            described = f"Refused: {', '.join(f'`{code}`' for code in ordered)}."
            references = [self._schema(code) for code in ordered]
            headers = (*ALWAYS, *LIMITS, *STATUS_HEADERS.get(status, ()))
            self.responses[name] = _response(described, references, headers)
        return {"$ref": f"#/components/responses/{name}"}

    def _schema(self, code: str) -> str:
        """The reference of a code's schema."""
        name = f"{_pascal(code)}Problem"
        if name not in self.schemas:
            members = self._members.get(code, {})
            (schemas, components) = msgspec.json.schema_components(members.values(), ref_template=SCHEMAS + "{name}")
            for component, schema in components.items():
                self.schemas.setdefault(component, schema)
            own = {
                "type": "object",
                "properties": {"code": {"type": "string", "enum": [code]}} | dict(zip(members, schemas, strict=True)),
                "required": ["code", *(name for name in members if name not in self._optional.get(code, ()))],
            }
            self.schemas[name] = {"title": name, "allOf": [{"$ref": SCHEMAS + BASE_SCHEMA}, own]}
        return SCHEMAS + name


def _pascal(code: str) -> str:
    return "".join(word.capitalize() for word in code.split("_"))


def _response(description: str, references: str | list[str], headers: tuple[str, ...]) -> dict[str, Any]:
    """A response with a problem of one of the schemas."""
    names = [references] if isinstance(references, str) else references
    schemas = [{"$ref": name} for name in names]
    schema = schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
    return {
        "description": description,
        "headers": headers_of(*headers),
        "content": {PROBLEM_MEDIA_TYPE: {"schema": schema}},
    }
