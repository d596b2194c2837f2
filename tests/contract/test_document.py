"""The OpenAPI document is written for people: named, told who may, with examples that are true.

That it is OpenAPI 3.1 and what it says of problems: tests/api/reference/test_documentation.py.
"""

from __future__ import annotations

import ast
import gzip
import json
import os
import re
import subprocess
import sys
import tomllib
from http import HTTPStatus

import httpx
import jsonschema_rs
from litestar import Litestar

from api.access.declarations import declared_access
from api.http.problems import PARAGRAPHS, STATUSES
from api.http.response_headers import ALWAYS, EXPOSED, LIMITS, RESPONSE_HEADERS
from api.reference.answers import ANSWERS, MORE_ANSWERS
from api.reference.openapi import openapi_document
from api.routes import api_routes
from domain.kernel.refusals import Refusal
from tests.contract.documented import COMPONENTS, DOCUMENT, STANDARD_MEMBERS, codes_of, faults_of, members_of, resolved
from tests.contract.documented import operations as _operations
from tests.processes import ROOT

SCHEMAS = COMPONENTS["schemas"]

RESOURCES = {
    *("admin", "auth", "availability", "bookings", "changes", "comps", "dashboard", "events", "holds", "me"),
    *("payments", "pools", "promo_codes", "service", "ticket_types"),
}

DOCUMENT_BYTES_PER_OPERATION_MAX = 4_800
"""Twice that would be felt by whoever opens the documentation on a phone; compressed it is a tenth."""

NO_BODY = {"204", "304"}

NO_EXAMPLE = {"service_live", "service_metrics", "service_ready"}
"""Programs read them, by words of their own."""


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


def _refusals(cls):
    return {each for child in cls.__subclasses__() for each in {child} | _refusals(child)}


def _ids(part):
    ids = part["include-operation-id"]
    return [ids] if isinstance(ids, str) else ids


def _parts(part):
    """Every object in a part of the document."""
    if isinstance(part, dict):
        yield part
    for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _parts(each)


def _contents(operation):
    yield from operation.get("requestBody", {}).get("content", {}).items()
    for status, response in operation["responses"].items():
        if status < "300" and status not in NO_BODY:
            yield from response["content"].items()


def test_an_operation_id_is_a_resource_and_a_verb():
    for name in _operations():
        resource = next((each for each in RESOURCES if name.startswith(f"{each}_")), None)
        assert resource is not None, name
        verb = name.removeprefix(f"{resource}_")
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", verb), name


def test_every_operation_has_a_summary_of_one_line():
    for name, operation in _operations().items():
        assert 3 <= len(operation["summary"]) <= 120, name
        assert "\n" not in operation["summary"], name


def test_every_operation_says_whose_token_it_needs():
    for name, declared in _declared().items():
        operation = _operations()[name]
        needed = [{"bearer": []}] if declared.roles else []
        assert operation["security"] == needed, name
        assert all(role in operation["description"].rpartition("For: ")[2] for role in declared.roles) or (
            "every role" in operation["description"]
        ), name


def test_every_operation_says_whether_it_is_public():
    public = {name for name, declared in _declared().items() if not declared.roles}

    assert {name for name, operation in _operations().items() if operation["security"] == []} == public


def test_every_operation_has_one_tag():
    assert {name: operation["tags"] for name, operation in _operations().items() if len(operation["tags"]) != 1} == {}


def test_every_tag_is_explained():
    explained = {tag["name"] for tag in DOCUMENT["tags"] if tag["description"]}

    assert {tag for operation in _operations().values() for tag in operation["tags"]} == explained


def test_every_operation_tells_the_refusals_that_its_declaration_implies():
    for name, declared in _declared().items():
        operation = _operations()[name]
        told = {
            status: codes_of(resolved(response))
            for status, response in operation["responses"].items()
            if status >= "400" and "application/problem+json" in resolved(response)["content"] and status != "default"
        }
        expected = {refusal.code for refusal in declared.refuses} | {"internal_error"}
        if "requestBody" in operation:
            expected |= {"malformed_body", "bad_request", "body_too_large", "unsupported_media_type"}
        if any(parameter["in"] == "path" for parameter in operation["parameters"]):
            expected |= {"not_found"}
        assert set().union(*told.values()) == expected, name
        guarded = {"unauthenticated", "forbidden"} if declared.roles else set()
        counted = {"invalid_request", "rate_limited", "unavailable"} if declared.limit != "unlimited" else set()
        assert guarded | counted <= expected, name


def test_every_answer_is_described_in_words_of_ours():
    """The framework describes a status as Python's `http` does, or as its exception class."""
    foreign = {status.description for status in HTTPStatus} | {status.phrase for status in HTTPStatus} | {""}
    told = {
        (name, status): resolved(response)["description"]
        for name, operation in _operations().items()
        for status, response in operation["responses"].items()
    }

    assert {key: text for key, text in told.items() if text in foreign or text.startswith("Request ")} == {}
    assert {text for text in told.values() if not text.endswith(".")} == set()


def test_every_answer_that_is_described_exists():
    assert ANSWERS.keys() == _operations().keys()
    assert {
        (name, status)
        for name, more in MORE_ANSWERS.items()
        for status in more
        if status not in _operations()[name]["responses"]
    } == set()


def test_every_operation_has_an_answer_for_any_other_problem():
    for name, operation in _operations().items():
        assert operation["responses"]["default"] == {"$ref": "#/components/responses/Problem"}, name
        assert "500" in operation["responses"], name


def test_every_answer_declares_the_header_fields_of_every_answer():
    for name, declared in _declared().items():
        for status, response in _operations()[name]["responses"].items():
            expected = {*ALWAYS, *(LIMITS if declared.limit != "unlimited" else ())}
            expected |= set(declared.sends.get(int(status), ())) if status != "default" else set()
            headers = resolved(response)["headers"]
            assert expected <= set(headers), (name, status)
            assert all(resolved(header)["description"] for header in headers.values()), (name, status)


def test_a_route_declares_header_fields_only_for_answers_that_it_has():
    for name, declared in _declared().items():
        assert {str(status) for status in declared.sends} <= set(_operations()[name]["responses"]), name
        assert {each for names in declared.sends.values() for each in names} <= set(RESPONSE_HEADERS), name


def test_every_header_field_of_the_table_is_declared_by_an_answer():
    used = {
        name
        for operation in _operations().values()
        for response in operation["responses"].values()
        for name in resolved(response)["headers"]
    }

    assert used == set(RESPONSE_HEADERS) == set(COMPONENTS["headers"])


def test_what_clients_act_on_is_exposed_to_other_origins():
    assert set(EXPOSED) >= {"ETag", "Idempotent-Replayed", "Location", *LIMITS, "Retry-After", "X-Request-Id"}


def test_the_code_of_a_problem_is_an_enumeration():
    assert set(SCHEMAS["ProblemCode"]["enum"]) == set(PARAGRAPHS)
    assert SCHEMAS["ProblemDetails"]["properties"]["code"] == {"$ref": "#/components/schemas/ProblemCode"}


def test_every_problem_has_a_schema_with_its_members():
    for refusal in STATUSES:
        assert members_of(refusal.code) == set(refusal.members), refusal
        assert not STANDARD_MEMBERS & set(refusal.members), refusal


def test_every_refusal_that_the_code_makes_has_the_members_that_it_declares():
    """Constructed by name, so that they can be read from the source: `SoldOut(detail, remaining=…)`."""
    declared = {refusal.__name__: set(refusal.members) for refusal in _refusals(Refusal)}
    needed = {refusal.__name__: set(refusal.members) - refusal.optional for refusal in _refusals(Refusal)}
    for path in sorted([*(ROOT / "api").rglob("*.py"), *(ROOT / "domain").rglob("*.py")]):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in declared:
                name = call.func.id
                given = {keyword.arg for keyword in call.keywords}
                if None in given:
                    # `**facts` are seen when they are answered: tests/api/conftest.py.
                    assert given - {None} <= declared[name], (path, call.lineno)
                    continue
                assert needed[name] <= given <= declared[name], (str(path), call.lineno, name)


def test_a_choice_is_of_more_than_one():
    single = [
        part for part in _parts(DOCUMENT) if any(len(part.get(choice, (1, 2))) < 2 for choice in ("oneOf", "anyOf"))
    ]

    assert single == []


def test_every_page_says_whether_more_follows():
    pages = {name: schema for name, schema in SCHEMAS.items() if "next_cursor" in schema.get("properties", {})}

    assert len(pages) >= 6
    assert {name for name, schema in pages.items() if "next_cursor" not in schema["required"]} == set()


def test_the_document_is_not_needlessly_large():
    bytes_max = DOCUMENT_BYTES_PER_OPERATION_MAX * len(_operations())

    assert len(openapi_document()) < bytes_max
    assert len(gzip.compress(openapi_document())) < bytes_max / 10


def test_every_component_is_used():
    text = json.dumps(DOCUMENT)

    unused = [
        f"{kind}/{name}"
        for kind in ("schemas", "responses", "headers")
        for name in COMPONENTS[kind]
        if f'"#/components/{kind}/{name}"' not in text
    ]

    assert unused == []


def test_an_answer_that_the_document_does_not_have_is_noticed():
    request = httpx.Request("GET", "http://onsale.test/api/v1/me")
    declared = dict.fromkeys(ALWAYS, "x")
    problem = {
        "type": "t",
        "title": "t",
        "status": 401,
        "detail": "d",
        "instance": "i",
        "code": "unauthenticated",
        "colour": "red",
    }
    told = {**declared, "WWW-Authenticate": "Bearer", "Content-Type": "application/problem+json"}

    undeclared = httpx.Response(200, headers={**declared, "X-Secret": "x"}, request=request)
    missing = httpx.Response(200, headers={"X-Request-Id": "x"}, request=request)
    odd = httpx.Response(401, headers=told, json=problem, request=request)
    other = httpx.Response(418, headers=declared, request=request)

    assert any("x-secret is sent" in fault for fault in faults_of(undeclared))
    assert any("cache-control is declared" in fault for fault in faults_of(missing))
    assert faults_of(odd) == ["me_show 401: the problem unauthenticated does not declare its member colour"]
    assert faults_of(other) == ["me_show 418: the document has no such status"]


def test_the_fuzzer_knows_every_list_with_a_cursor():
    """JSON Schema cannot say which texts are cursors: 422 for those that are none."""
    config = tomllib.loads((ROOT / "tests/contract/fuzzing/schemathesis.toml").read_text())
    known = next(part["include-operation-id"] for part in config["operations"] if "events_page" in _ids(part))
    lists = {
        name
        for name, operation in _operations().items()
        if any(parameter["name"] == "cursor" for parameter in operation["parameters"])
    }

    assert set(known) == lists


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


def test_every_process_makes_the_same_bytes():
    """Else a validator (`ETag`) that one process gave is none to the process beside it."""
    program = (
        "import sys; from api.reference.openapi import openapi_document; sys.stdout.buffer.write(openapi_document())"
    )
    made = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3", "4")
    }

    assert made == {openapi_document()}
