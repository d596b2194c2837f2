"""The documentation pages work without internet and agree with the code."""

from __future__ import annotations

import json
import re

from api.access.declarations import declared_access
from api.app import create_litestar
from api.http.problems import PARAGRAPHS, STATUSES, statuses_by_code
from api.reference.answers import MORE_ANSWERS
from api.reference.assets import FILES
from api.reference.openapi import openapi_document
from domain.kernel.refusals import Refusal
from tests.contract.documented import resolved

DOCUMENT = json.loads(openapi_document())
METHODS = {"get", "post", "patch", "delete"}

PAGES = ["/", "/api/v1/docs", "/api/v1/redoc", "/api/v1/docs/problems"]

ASSETS = FILES

NO_ASSETS = ["..%2f..%2f__init__.py", "other.js", "%2e%2e"]


def _operations():
    return {
        f"{method.upper()} {path}": operation
        for path, item in DOCUMENT["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


async def test_pages_load_nothing_from_elsewhere(client):
    for path in PAGES:
        answer = await client.get(path)

        loaded = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
        policy = answer.headers["Content-Security-Policy"]
        assert answer.headers["Content-Type"].startswith("text/html")
        assert not [address for address in loaded if re.match(r"(?:https?:)?//", address)]
        assert "default-src 'none'" in policy
        assert not re.search(r"https?:|\*|unsafe-eval|script-src[^;]*unsafe-inline", policy)
        for address in loaded:
            if address.startswith("/"):
                assert (await client.get(address)).status_code in (200, 503), address


async def test_assets_come_from_the_installed_package(client):
    for name in ASSETS:
        answer = await client.get(f"/api/v1/docs/assets/{name}")

        assert answer.status_code == 200
        assert len(answer.content) > 500


async def test_nothing_else_is_an_asset(client):
    for name in NO_ASSETS:
        assert (await client.get(f"/api/v1/docs/assets/{name}")).status_code == 404


async def test_the_document_is_openapi_3_1(client):
    answer = await client.get("/api/v1/openapi.json")

    assert answer.json()["openapi"].startswith("3.1")
    assert answer.json() == DOCUMENT


def test_every_operation_is_described():
    undescribed = [name for name, operation in _operations().items() if not operation.get("description")]

    assert undescribed == []


def test_every_error_of_the_document_is_a_problem():
    for name, operation in _operations().items():
        for status, response in operation["responses"].items():
            if status >= "400" and "/health/" not in name:
                assert list(resolved(response)["content"]) == ["application/problem+json"], (name, status)


def test_operations_are_named_after_what_they_do():
    names = {operation["operationId"] for operation in _operations().values()}

    assert {"bookings_create", "events_show", "auth_log_in"} <= names
    assert len(names) == len(_operations())
    assert set(MORE_ANSWERS) <= names


def test_every_schema_that_is_named_is_there():
    named = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(DOCUMENT)))

    assert named <= set(DOCUMENT["components"]["schemas"])


def test_no_two_paths_of_the_document_are_the_same_path():
    shapes = [re.sub(r"{[^}]+}", "{}", path) for path in DOCUMENT["paths"]]

    assert len(shapes) == len(set(shapes))


def test_every_refusal_has_a_status_and_a_paragraph():
    """A kind of a refusal that has no code of its own is answered as that refusal."""

    def subclasses(cls):
        return {cls} | {each for child in cls.__subclasses__() for each in subclasses(child)}

    refusals = {refusal for refusal in subclasses(Refusal) if hasattr(refusal, "code")}

    assert {refusal for refusal in refusals if "code" in vars(refusal)} <= set(STATUSES) <= refusals
    assert {refusal.code for refusal in refusals} <= set(PARAGRAPHS)
    assert set(PARAGRAPHS) == set(statuses_by_code())


async def test_the_type_of_a_problem_leads_to_its_paragraph(client):
    problem = (await client.get("/api/v1/me")).json()

    path, _, anchor = problem["type"].partition("#")
    assert f'id="{anchor}"' in (await client.get(path)).text


def test_every_route_declares_who_may_call_it_and_how_often(settings):
    app = create_litestar(settings)
    undeclared = [
        route.path
        for route in app.routes
        for handler in route.route_handlers
        if handler.http_methods != {"OPTIONS"} and declared_access(handler) is None
    ]

    assert undeclared == []
