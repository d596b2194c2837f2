"""Compares an answer with the OpenAPI document, in both directions."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any

import jsonschema_rs

from api.http.problems import FRAMEWORK
from api.reference.openapi import openapi_document

if TYPE_CHECKING:
    import httpx

DOCUMENT: dict[str, Any] = json.loads(openapi_document())
COMPONENTS = DOCUMENT["components"]

STANDARD_MEMBERS = {"type", "title", "status", "detail", "instance", "code"}

TRANSPORT = {"content-type", "content-length", "date", "connection", "transfer-encoding"}
"""Fields of HTTP itself; the document says Content-Type by the content."""

ANY_ROUTE = {code for code, _ in FRAMEWORK.values()}
"""Codes that the response `default` stands for: the request was refused before its route."""


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """A part of the document, or what it refers to."""
    while "$ref" in part:
        found: Any = DOCUMENT
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name.replace("~1", "/").replace("~0", "~")]
        part = found
    return part


def operations() -> dict[str, dict[str, Any]]:
    """Every operation by its id."""
    return {operation["operationId"]: operation for item in DOCUMENT["paths"].values() for operation in item.values()}


def operation_of(method: str, path: str) -> dict[str, Any] | None:
    """The operation that a request is for; None when it is for no route of the document."""
    method = "get" if method == "HEAD" else method.lower()
    path = path.rstrip("/") or "/"
    for pattern, item in _patterns():
        if pattern.fullmatch(path) and method in item:
            found: dict[str, Any] = item[method]
            return found
    return None


def codes_of(response: dict[str, Any]) -> set[str]:
    """The codes of the problems that a response of the document can be."""
    (content,) = response["content"].values()
    schemas = content["schema"].get("oneOf", [content["schema"]])
    return {code for schema in schemas for code in resolved(_own(resolved(schema))["properties"]["code"])["enum"]}


def members_of(code: str) -> set[str]:
    """The members of a code's problem beside those of every problem."""
    name = "".join(word.capitalize() for word in code.split("_")) + "Problem"
    schema = COMPONENTS["schemas"].get(name)
    return set(_own(schema)["properties"]) - STANDARD_MEMBERS if schema else set()


def faults_of(answer: httpx.Response) -> list[str]:
    """What is different between an answer and the document; an answer for no route of the document has no faults."""
    request = answer.request
    operation = operation_of(request.method, request.url.path)
    if operation is None:
        return []
    at = f"{operation['operationId']} {answer.status_code}"
    body = _json(answer)
    problem = answer.headers.get("content-type", "").startswith("application/problem+json")
    response = operation["responses"].get(str(answer.status_code))
    early = problem and body is not None and body["code"] in ANY_ROUTE
    if early and (response is None or body["code"] not in codes_of(resolved(response))):
        response = operation["responses"]["default"]
    if response is None:
        return [f"{at}: the document has no such status"]
    return [f"{at}: {fault}" for fault in _faults(answer, body, resolved(response))]


def _faults(answer: httpx.Response, body: Any, response: dict[str, Any]) -> list[str]:
    declared = {name.lower(): resolved(header) for name, header in response["headers"].items()}
    sent = {name for name in answer.headers if name not in TRANSPORT and not name.startswith("access-control-")}
    if answer.headers.get("vary") == "Origin":
        # With CORS_ORIGINS alone, as the fields that it adds.
        sent.discard("vary")
    faults = [f"{name} is sent, the document does not declare it: access(…, sends=…)" for name in sent - set(declared)]
    faults += [
        f"{name} is declared as required, it is not sent"
        for name, header in declared.items()
        if header.get("required") and name not in sent
    ]
    media_type = answer.headers.get("content-type", "").partition(";")[0]
    if media_type and media_type not in response.get("content", {}):
        faults.append(f"the document does not have the media type {media_type}")
    elif body is not None:
        schema = json.dumps(response["content"][media_type]["schema"])
        faults += [error.message for error in _validator(schema).iter_errors(body)]
        if "code" in body and media_type.startswith("application/problem"):
            undeclared = set(body) - STANDARD_MEMBERS - members_of(body["code"])
            faults += [f"the problem {body['code']} does not declare its member {name}" for name in undeclared]
    return faults


def _json(answer: httpx.Response) -> Any:
    """The body of an answer that is JSON, else None."""
    media_type = answer.headers.get("content-type", "").partition(";")[0]
    return answer.json() if answer.content and media_type.endswith("json") else None


def _own(schema: dict[str, Any]) -> dict[str, Any]:
    """What a schema adds to the one that it extends."""
    own: dict[str, Any] = schema["allOf"][-1] if "allOf" in schema else schema
    return own


@cache
def _patterns() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    """The document's paths, those without parameters first."""
    paths = sorted(DOCUMENT["paths"], key=lambda path: (path.count("{"), path))
    return [(re.compile(re.sub(r"{[^}]+}", "[^/]+", path)), DOCUMENT["paths"][path]) for path in paths]


@cache
def _validator(schema: str) -> Any:
    return jsonschema_rs.validator_for(json.loads(schema) | {"components": COMPONENTS}, validate_formats=True)
