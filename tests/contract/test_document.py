"""The OpenAPI document is written for people: named, told who may, with examples that are true.

That it is OpenAPI 3.1 and what it says of problems: tests/api/test_documentation.py.
"""

from __future__ import annotations

import json
import re

import jsonschema_rs
from litestar import Litestar

from api.access import ADMINS, ATTENDEES, ORGANIZERS, declared_access
from api.openapi import ROLE_TAGS, openapi_document
from api.routes import api_routes

DOCUMENT = json.loads(openapi_document())
SCHEMAS = DOCUMENT["components"]["schemas"]

RESOURCES = {"admin", "auth", "bookings", "dashboard", "events", "me", "service"}

PROBLEM = {"$ref": "#/components/schemas/ProblemDetails"}

NO_BODY = {"204", "304"}

NO_EXAMPLE = {"service_live", "service_metrics", "service_ready"}
"""Programs read them, by words of their own."""


def _operations():
    return {operation["operationId"]: operation for item in DOCUMENT["paths"].values() for operation in item.values()}


def _declared():
    app = Litestar(api_routes(), logging_config=None, openapi_config=None)
    handlers = [handler for route in app.routes for handler in route.route_handlers if declared_access(handler)]
    return {
        f"{handler.fn.__module__.rpartition('.')[2]}_{handler.handler_name}": declared_access(handler)
        for handler in handlers
    }


def _shown(schema):
    """The schema that a person looks at for an example: a page is looked at by its items."""
    choices = schema.get("oneOf", [schema])
    resolved = [SCHEMAS[choice["$ref"].rpartition("/")[2]] for choice in choices if "$ref" in choice]
    return [
        shown
        for each in resolved
        for shown in (_shown(each["properties"]["items"]["items"]) if each["title"].find("Page[") >= 0 else [each])
    ]


def _contents(operation):
    yield from operation.get("requestBody", {}).get("content", {}).items()
    for status, response in operation["responses"].items():
        if status < "300" and status not in NO_BODY:
            yield from response["content"].items()


def test_an_operation_id_is_a_resource_and_a_verb():
    for name in _operations():
        resource, _, verb = name.partition("_")
        assert resource in RESOURCES
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", verb), name


def test_every_operation_has_a_summary_of_one_line():
    for name, operation in _operations().items():
        assert 3 <= len(operation["summary"]) <= 120, name
        assert "\n" not in operation["summary"], name


def test_every_operation_says_whose_token_it_needs():
    for name, declared in _declared().items():
        operation = _operations()[name]
        needed = [{"bearer": []}] if declared.roles else []
        assert operation.get("security", []) == needed, name
        assert all(role in operation["description"].rpartition("For: ")[2] for role in declared.roles) or (
            "every role" in operation["description"]
        ), name


def test_what_some_roles_may_is_under_their_tag():
    for name, declared in _declared().items():
        tags = _operations()[name]["tags"]
        for roles in (ATTENDEES, ORGANIZERS):
            assert (ROLE_TAGS[roles] in tags) == (declared.roles == roles), name
        assert declared.roles != ADMINS or "Administration" in tags, name


def test_every_tag_is_explained():
    explained = {tag["name"] for tag in DOCUMENT["tags"] if tag["description"]}

    assert {tag for operation in _operations().values() for tag in operation["tags"]} == explained


def test_every_operation_tells_the_refusals_that_its_declaration_implies():
    for name, declared in _declared().items():
        responses = _operations()[name]["responses"]
        expected = {"401", "403"} if declared.roles else set()
        expected |= {"422", "429", "503"} if declared.limit != "unlimited" else set()
        expected |= {"400", "413", "415"} if "requestBody" in _operations()[name] else set()
        assert expected <= set(responses), name
        problems = {status for status in responses if status >= "400"} if expected else set()
        for status in problems:
            assert responses[status]["content"]["application/problem+json"]["schema"] == PROBLEM, (name, status)


def test_every_operation_has_examples_of_what_is_sent_and_answered():
    for name in sorted(_operations().keys() - NO_EXAMPLE):
        for media_type, content in _contents(_operations()[name]):
            if media_type == "application/json":
                shown = _shown(content["schema"])
                assert shown, (name, content)
                assert all(schema.get("examples") for schema in shown), (name, content)


def test_every_example_is_true_to_its_schema():
    for name, schema in SCHEMAS.items():
        validator = jsonschema_rs.validator_for(schema | {"components": DOCUMENT["components"]}, validate_formats=True)
        for example in schema.get("examples", []):
            assert [str(error) for error in validator.iter_errors(example)] == [], name


def test_a_body_refuses_fields_that_it_does_not_have():
    for operation in _operations().values():
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert [schema["additionalProperties"] for schema in _shown(content["schema"])] == [False]
