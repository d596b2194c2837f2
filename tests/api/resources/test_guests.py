"""Guest lists: their content, their order, and CSV files that are safe in a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
import sys
import unicodedata
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import TIMESTAMP

from api.resources.guests import FORMULA_STARTS
from domain.background.persisting import expire
from domain.kernel.partitions import partition_of_event
from tests.factories import make_due
from tests.selling import order, sell, ticket_type
from tests.waiting import persist_all

CSV = {"Accept": "text/csv"}

PLAIN = "=+-@"

HOSTILE = [
    "=1+1@x.org",
    "a;=1+1;@x.org",
    "a,=1+1,@x.org",
    "a|=cmd|@x.org",
    'a";=1+1;"@x.org',
    "\uff1d1\uff0b1@x.org",
    "a;\uff20SUM(A1)@x.org",
    "+49@x.org",
    "-1@x.org",
    "a:-1@x.org",
    "\u22121@x.org",
]
"""Addresses that a spreadsheet would run, or would once it splits the file at another character than the comma."""

HARMLESS = ["ann-marie+tickets@x.org", "o'neil_2.x@x-y.org", "rene@x.org"]

SEPARATORS = [",", ";", "|", "\t", ":", " "]


async def listed(callers, stores, *, people):
    """An organizer and an event that so many people booked, oldest booking first."""
    organizer = await callers.organizer()
    event = await organizer.make_event()
    buyers = [await callers.attendee() for _ in range(people)]
    bookings = [(await buyer.book(event["id"])).json()["id"] for buyer in buyers]
    await persist_all(stores)
    for number, booking in enumerate(bookings):
        await put(stores, "UPDATE bookings SET created_at = :value WHERE id = :id", booking, _minutes_ago(60 - number))
    return organizer, f"/api/v1/bookings/{event['id']}", buyers, bookings


async def put(stores, statement, id_, value):
    typed = text(statement)
    if isinstance(value, datetime):
        typed = typed.bindparams(bindparam("value", type_=TIMESTAMP(timezone=True)))
    async with stores.database.begin() as connection:
        await connection.execute(typed, {"id": UUID(id_), "value": value})


def _minutes_ago(minutes):
    return datetime.now(UTC) - timedelta(minutes=minutes)


async def test_those_who_hold_tickets_are_listed_oldest_first_and_all_on_demand(callers, stores):
    organizer, path, buyers, bookings = await listed(callers, stores, people=5)
    await buyers[1].delete(f"/api/v1/bookings/{bookings[1]}")
    await persist_all(stores)

    holding = (await organizer.get(path)).json()["items"]
    every = (await organizer.get(path, params={"status": "all"})).json()["items"]
    files = [(await organizer.get(path, params=query, headers=CSV)).text for query in ({}, {"status": "all"})]

    assert [guest["booking_id"] for guest in holding] == [*bookings[:1], *bookings[2:]]
    assert [guest["booking_id"] for guest in every] == bookings
    assert every[1]["status"] == "cancelled"
    assert [[row[0] for row in csv.reader(io.StringIO(file))][1:] for file in files] == [
        [*bookings[:1], *bookings[2:]],
        bookings,
    ]


async def test_guests_are_found_by_their_address(callers, stores):
    organizer, path, buyers, _ = await listed(callers, stores, people=3)
    name = buyers[1].email.partition("@")[0]

    found = (await organizer.get(path, params={"q": name.upper()})).json()["items"]
    none = (await organizer.get(path, params={"q": "_"})).json()["items"]
    file = (await organizer.get(path, params={"q": name}, headers=CSV)).text

    assert [guest["email"] for guest in found] == [buyers[1].email]
    assert none == []
    assert len(list(csv.reader(io.StringIO(file)))) == 2


@pytest.mark.parametrize("separator", SEPARATORS)
async def test_no_cell_of_a_guest_file_is_a_formula_whatever_it_is_split_at(callers, stores, separator):
    organizer, path, buyers, _ = await listed(callers, stores, people=len(HOSTILE) + len(HARMLESS))
    for buyer, email in zip(buyers, HOSTILE + HARMLESS, strict=True):
        await put(stores, "UPDATE accounts SET email = :value WHERE id = :id", buyer.id, email)

    answer = await organizer.get(path, headers=CSV)

    quoted = list(csv.reader(io.StringIO(answer.text), delimiter=separator))
    plain = [line.split(separator) for line in answer.text.splitlines()]
    cells = [cell.strip().strip('"').strip() for row in quoted + plain for cell in row]
    assert [cell for cell in cells if unicodedata.normalize("NFKC", cell).startswith(tuple(PLAIN + "\u2212"))] == []


async def test_every_cell_of_a_guest_file_is_quoted_and_usual_addresses_stand_as_they_are(callers, stores):
    organizer, path, buyers, _ = await listed(callers, stores, people=len(HARMLESS))
    for buyer, email in zip(buyers, HARMLESS, strict=True):
        await put(stores, "UPDATE accounts SET email = :value WHERE id = :id", buyer.id, email)

    answer = await organizer.get(path, headers=CSV)
    marked = await organizer.get(path, params={"bom": "true"}, headers=CSV)

    assert all(re.fullmatch(r'"[^"]*"(,"[^"]*"){9}', line) for line in answer.text.splitlines())
    header, *rows = csv.reader(io.StringIO(answer.text))
    booked = ["booking_id", "user_id", "email", "quantity", "status", "created_at", "name"]
    assert header == [*booked, "tickets", "total_minor", "currency"]
    assert [row[7:] for row in rows] == [["1 General admission", "0", ""]] * len(rows)
    assert [row[2] for row in rows] == HARMLESS
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert "attachment" in answer.headers["Content-Disposition"]
    assert marked.content == b"\xef\xbb\xbf" + answer.content


def test_every_character_that_is_a_form_of_a_formulas_first_is_known():
    forms = {
        character
        for character in map(chr, range(sys.maxunicode + 1))
        if unicodedata.normalize("NFKC", character).startswith((*PLAIN, "\u2212"))
    }

    assert forms | set("\t\r\n") == set(FORMULA_STARTS)


async def test_guests_have_their_tickets_by_type_and_holds_are_no_guests(callers, stores):
    organizer, buyer = await callers.organizer(), await callers.attendee()
    made = await organizer.make_event(currency="EUR", payment="external", max_per_user=20)
    event = await stores.event_actions.find(UUID(made["id"]))
    adult, child = ticket_type(event.id, price_minor=1_500), ticket_type(event.id, "=Child", price_minor=500)
    await sell(stores, event, adult, child)
    ended, held, paid = [await order(stores, event, (adult, 2), (child, 1), user_id=UUID(buyer.id)) for _ in range(3)]
    await make_due(stores, ended)
    await stores.box_office.confirm(paid.id)
    await persist_all(stores)
    await expire(stores, partition_of_event(event.id))
    await persist_all(stores)
    path = f"/api/v1/bookings/{event.id}"

    (guest,) = (await organizer.get(path)).json()["items"]
    every = (await organizer.get(path, params={"status": "all"})).json()["items"]
    _, row = csv.reader(io.StringIO((await organizer.get(path, headers=CSV)).text))

    assert (guest["booking_id"], guest["total_minor"], guest["currency"]) == (str(paid.id), 3_500, "EUR")
    assert [(line["name"], line["quantity"], line["sum_minor"]) for line in guest["items"]] == [
        ("Adult", 2, 3_000),
        ("=Child", 1, 500),
    ]
    assert every == [guest]
    assert row[7:] == ["2 Adult; 1 '=Child", "3500", "EUR"]
    assert held.status == "held"
