"""Every list of the API is read from its first row to its last, with a full page and with one row more."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from litestar.routes import HTTPRoute
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Uuid

from api.app import create_litestar
from api.http.pagination import LIMIT_MAX
from api.reference.openapi import openapi_document
from api.routes import PREFIX
from tests.factories import as_organizer, book, make_accounts, new_event
from tests.waiting import persist_all

if TYPE_CHECKING:
    from tests.api.callers import Caller

ROWS = LIMIT_MAX + 1

PAGED = {"limit", "cursor"}

SHOWN_IN_PART = {"admin_details", "admin_repair", "availability_show", "pools_page", "ticket_types_page"}
"""Operations that show the newest of something whose whole list is another route, or all there is of one event."""

LINE = "#/components/schemas/OrderLine"

WHOLE = {LINE}
"""Items of lists that are never cut: the lines of a booking. Nor are lists of plain values, such as ids."""


@dataclass
class Walk:
    """A list as somebody sees it who may: where its items stand, what names one, and which there are, in order."""

    caller: Caller
    path: str
    expected: list[Any]
    items: str = "items"
    key: str = "id"
    query: dict[str, str] = field(default_factory=dict)

    async def page(self, **query: Any) -> tuple[list[Any], str | None]:
        """The names of a page's items, and where the next one begins."""
        answer = await self.caller.get(
            self.path, params=self.query | {key: value for key, value in query.items() if value}
        )
        assert answer.status_code == 200, answer.text
        shown = answer.json()
        return [_named(item, self.key) for item in shown[self.items]], shown["next_cursor"]

    async def all(self, *, limit: int) -> list[list[Any]]:
        """Every page from the first to the last."""
        pages, cursor = [], None
        while not pages or cursor:
            items, cursor = await self.page(limit=limit, cursor=cursor)
            pages.append(items)
            assert len(pages) <= ROWS
        return pages


def _named(item: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        item = item[part]
    return item


def lists_of(app: Any) -> set[str]:
    """The routes of the API that answer with pages. A list that only one role sees stands behind a `#`."""
    return {
        f"GET {route.path_format}"
        for route in app.routes
        if isinstance(route, HTTPRoute) and route.path_format.startswith(PREFIX)
        for handler in route.route_handlers
        if "GET" in handler.http_methods and PAGED & handler.parsed_fn_signature.parameters.keys()
    }


@pytest.fixture
async def walks(callers, stores):
    """Every list with its rows, by its route."""
    admin, organizer, buyer = await callers.admin(), await callers.organizer(), await callers.attendee()
    people = [str(each) for each in await make_accounts(stores, ROWS - 1)]
    organizers = [str(each) for each in await make_accounts(stores, ROWS - 1)]
    await _change(stores, "UPDATE accounts SET role = 'organizer' WHERE id = ANY(:ids)", organizers)
    # Many in one millisecond: only the id tells which comes first.
    await _change(stores, "UPDATE accounts SET created_at = now() WHERE id = ANY(:ids)", people + organizers)
    events = [
        await stores.event_actions.create(
            new_event(starts_at=datetime(2090, 1, 1 + number // 50, tzinfo=UTC), capacity=ROWS + 1),
            caller=as_organizer(UUID(organizer.id)),
        )
        for number in range(ROWS)
    ]
    bookings = await asyncio.gather(*(book(stores, event, user_id=UUID(buyer.id)) for event in events))
    guests = await asyncio.gather(*(book(stores, events[0], user_id=UUID(person)) for person in people))
    await persist_all(stores)
    await _change(stores, "UPDATE bookings SET created_at = now() WHERE id = ANY(:ids)", [each.id for each in guests])
    await _write_audit_log(stores, admin.id)
    by_start = [str(each.id) for each in sorted(events, key=lambda each: (each.starts_at, each.id))]
    first = next(booking for booking in bookings if booking.event_id == events[0].id)
    listed = [str(each.id) for each in sorted(bookings, key=lambda each: (each.created_at, each.id), reverse=True)]
    return {
        "GET /api/v1/events": Walk(buyer, "/api/v1/events", by_start),
        "GET /api/v1/events#status": Walk(buyer, "/api/v1/events", by_start, query={"status": "on_sale"}),
        "GET /api/v1/bookings/my-bookings": Walk(buyer, "/api/v1/bookings/my-bookings", listed),
        "GET /api/v1/bookings/{event_id}": Walk(
            organizer,
            f"/api/v1/bookings/{events[0].id}",
            [str(first.id), *sorted(str(each.id) for each in guests)],
            key="booking_id",
        ),
        "GET /api/v1/admin/users/attendees": Walk(admin, "/api/v1/admin/users/attendees", [buyer.id, *sorted(people)]),
        "GET /api/v1/admin/users/organizers": Walk(
            admin, "/api/v1/admin/users/organizers", [organizer.id, *sorted(organizers)]
        ),
        "GET /api/v1/dashboard#attendee": Walk(
            buyer, "/api/v1/dashboard", await _upcoming(stores, buyer.id), items="upcoming"
        ),
        "GET /api/v1/dashboard#organizer": Walk(
            organizer, "/api/v1/dashboard", by_start, items="events", key="event.id"
        ),
        "GET /api/v1/events/{event_id}/promo-codes": await _promo_codes(organizer, events[1].id),
        "GET /api/v1/admin/audit-log": Walk(admin, "/api/v1/admin/audit-log", await _audit_log(stores), key="id"),
    }


async def _promo_codes(organizer, event_id):
    path = f"/api/v1/events/{event_id}/promo-codes"
    made = await organizer.post(path, {"pattern": "WALK-######", "count": ROWS})
    return Walk(organizer, path, sorted(code["id"] for code in made.json()["items"]))


async def test_every_list_is_walked_to_its_last_row(walks, unlimited):
    """Nothing is lost, nothing comes twice, the order stays, and the cursor is null exactly at the end."""
    assert {route.partition("#")[0] for route in walks} == lists_of(create_litestar(unlimited))
    for route, walk in walks.items():
        assert len(walk.expected) == ROWS, route

        pages, again = await walk.all(limit=LIMIT_MAX), await walk.all(limit=LIMIT_MAX)
        _, after_first = await walk.page(limit=1)
        rest, end = await walk.page(limit=LIMIT_MAX, cursor=after_first)

        seen = [item for page in pages for item in page]
        assert [len(page) for page in pages] == [LIMIT_MAX, 1], route
        assert seen == walk.expected, route
        assert again == pages, route
        assert (rest, end) == (seen[1:], None), route


def test_whatever_is_answered_in_part_has_a_cursor():
    """A new list cannot be forgotten: what answers with an array is paged, or is named here with its reason."""
    document = json.loads(openapi_document())
    unpaged = set()
    for item in document["paths"].values():
        for operation in item.values():
            named = {parameter["name"] for parameter in operation.get("parameters", [])}
            if _has_array(operation, document["components"]["schemas"]) and not named >= PAGED:
                unpaged.add(operation["operationId"])

    assert unpaged == SHOWN_IN_PART


def _has_array(operation: dict[str, Any], schemas: dict[str, Any]) -> bool:
    schema = operation["responses"].get("200", {}).get("content", {}).get("application/json", {}).get("schema", {})
    shown = [schemas[each["$ref"].rpartition("/")[2]] for each in schema.get("oneOf", [schema]) if "$ref" in each]
    fields = (field for each in shown for field in each["properties"].values())
    return any(field.get("type") == "array" and field["items"].get("$ref", LINE) not in WHOLE for field in fields)


async def _change(stores, statement, ids):
    sql = text(statement).bindparams(bindparam("ids", list(map(UUID, map(str, ids))), type_=ARRAY(Uuid)))
    async with stores.database.begin() as connection:
        await connection.execute(sql)


async def _write_audit_log(stores, admin_id):
    async with stores.database.begin() as connection:
        await connection.execute(text("DELETE FROM audit_log"))
        await connection.execute(
            text(
                "INSERT INTO audit_log (at, actor_id, action, detail) "
                "SELECT now(), :admin_id, 'account.banned', '{}' FROM generate_series(1, :rows)"
            ),
            {"admin_id": UUID(admin_id), "rows": ROWS},
        )


async def _upcoming(stores, user_id):
    statement = text(
        "SELECT bookings.id::text FROM bookings JOIN events ON events.id = event_id WHERE user_id = :user_id "
        "ORDER BY starts_at, bookings.created_at, bookings.id"
    )
    async with stores.database.begin() as connection:
        return list((await connection.execute(statement, {"user_id": UUID(user_id)})).scalars())


async def _audit_log(stores):
    async with stores.database.begin() as connection:
        return list((await connection.execute(text("SELECT id FROM audit_log ORDER BY id DESC"))).scalars())
