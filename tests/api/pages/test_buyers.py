"""The pages of buyers as the server sends them, before any script runs."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from tests.api.access.test_roles import NOBODYS_ID
from tests.api.callers import Callers
from tests.api.conftest import serving
from tests.selling import make_priced_event, promo_code, sell, ticket_type

HTML = "text/html; charset=utf-8"
DATA = re.compile(r'<script type="application/ld\+json">(.*?)</script>', re.DOTALL)
FIRST_VIEW_BYTES_MAX = 60 * 1024
FIRST_VIEW_REQUESTS_MAX = 4
"""With the request for the live numbers, five."""

TITLE = 'Ö & <b>"quoted"</b> </script> night'


@pytest.fixture
async def organizer(callers):
    return await callers.organizer()


@pytest.mark.parametrize("path", ["/", "/login", "/signup", "/bookings", f"/bookings/{NOBODYS_ID}"])
async def test_a_page_allows_no_inline_script_or_style(client, path):
    answer = await client.get(path)

    policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, HTML)
    assert policy["default-src"] == "'none'"
    assert (policy["script-src"], policy["style-src"]) == ("'self'", "'self'")
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:", answer.text) == []


async def test_what_is_on_is_in_the_page_and_can_be_searched(client, organizer):
    await organizer.make_event(title="Harvest Concert", location="Castle Meadow")
    await organizer.make_event(title="Improv Night", location="The Cellar")

    everything, found, nothing = [(await client.get(path)).text for path in ("/", "/?q=castle+MEADOW", "/?q=nowhere")]

    assert "Harvest Concert" in everything
    assert "Improv Night" in everything
    assert "100 left" in everything
    assert ("Harvest Concert" in found, "Improv Night" in found) == (True, False)
    assert "Nothing matches your search" in nothing


async def test_events_are_found_by_their_days(client, organizer):
    days = [datetime(2099, 5, day, 20, tzinfo=UTC) for day in (1, 2, 3)]
    for day in days:
        await organizer.make_event(title=f"Show of day {day.day}", starts_at=day.isoformat())

    page = (await client.get("/?from=2099-05-02&to=2099-05-02")).text
    wrong = await client.get("/?from=yesterday")

    assert re.findall(r"Show of day (\d)", page) == ["2"]
    assert (wrong.status_code, "is not a date" in wrong.text) == (200, True)


async def test_a_long_list_has_a_next_page(client, organizer):
    for number in range(21):
        await organizer.make_event(title=f"Show {number:02}")

    first = (await client.get("/?q=show")).text
    (more,) = re.findall(r'href="(/\?[^"]+)">More events', first)
    second = (await client.get(more.replace("&amp;", "&"))).text

    assert [len(re.findall("Show \\d\\d", page)) for page in (first, second)] == [20, 1]


async def test_an_empty_shop_says_so(client):
    assert "Nothing is on yet" in (await client.get("/")).text


async def test_every_word_of_an_organizer_is_escaped(client, organizer):
    event = await organizer.make_event(title=TITLE, description=TITLE, location=TITLE)

    for path in ("/", f"/events/{event['id']}"):
        page = (await client.get(path)).text
        assert "</script> night" not in page
        assert '<b>"quoted"' not in page


async def test_an_event_is_usable_without_a_script(client, organizer):
    event = await organizer.make_event(title="Winter Gala", capacity=7, max_per_user=3, description="One night.")

    page = (await client.get(f"/events/{event['id']}")).text

    for shown in ("Winter Gala", "Tempodrom, Berlin", "One night.", "7 of 7 tickets left", "At most 3 per person"):
        assert shown in page
    # The choice is in the address of the next page.
    assert f'<input type="hidden" name="next" value="/events/{event["id"]}">' in page
    assert 'method="get" action="/login"' in page


STATES = {
    "on_sale": ({}, None, "2 of 2 tickets left"),
    "sold_out": ({}, "book", "When somebody cancels"),
    "scheduled": ({"sales_open_at": (datetime.now(UTC) + timedelta(days=1)).isoformat()}, None, "Not on sale yet"),
    "paused": ({}, "pause", "Sales are paused"),
    "cancelled": ({}, "cancel", "This event is cancelled"),
}


@pytest.mark.parametrize("state", STATES)
async def test_every_state_of_a_sale_says_what_it_means(callers, client, organizer, state):
    fields, action, words = STATES[state]
    event = await organizer.make_event(capacity=2, **fields)
    path = f"/api/v1/events/{event['id']}"
    if action == "book":
        await (await callers.attendee()).book(event["id"], quantity=2)
    elif action == "pause":
        await organizer.patch(path, {"paused": True})
    elif action == "cancel":
        await organizer.delete(path)

    page = (await client.get(f"/events/{event['id']}")).text

    assert f'data-status="{state}"' in page
    assert words in page
    assert ('id="book"' in page) == (state == "on_sale")


async def test_programs_find_the_event_and_its_offer(client, organizer):
    event = await organizer.make_event(title=TITLE, description="One night.")

    page = (await client.get(f"/events/{event['id']}")).text
    data = json.loads(DATA.search(page)[1])

    assert (data["@context"], data["@type"], data["name"]) == ("https://schema.org", "Event", TITLE)
    assert data["startDate"] == event["starts_at"]
    assert data["location"] == {"@type": "Place", "name": event["location"], "address": event["location"]}
    assert data["offers"][0]["availability"] == "https://schema.org/InStock"
    assert data["url"] == f"http://onsale.test/events/{event['id']}"
    assert f'<meta property="og:url" content="{data["url"]}">' in page


async def test_ticket_types_are_shown_with_their_prices(client, clean):
    event = await make_priced_event(clean, currency="KWD")
    await sell(
        clean,
        event,
        ticket_type(event.id, f"Stalls {TITLE}", price_minor=12_345, position=1),
        ticket_type(event.id, "Balcony", price_minor=0, min_per_booking=2, position=2),
        ticket_type(event.id, "Backstage", price_minor=1, hidden=True),
    )

    page = (await client.get(f"/events/{event.id}")).text
    data = json.loads(DATA.search(page)[1])

    assert '<data class="money" value="12345" data-currency="KWD" data-decimals="3">12.345 KWD</data>' in page
    assert "at least 2" in page
    assert "Backstage" not in page
    assert "</script> night" not in page
    assert [offer["price"] for offer in data["offers"]] == ["12.345", "0.000"]
    assert {offer["priceCurrency"] for offer in data["offers"]} == {"KWD"}


async def test_a_promo_code_unlocks_types_and_a_wrong_one_is_said(client, clean):
    event = await make_priced_event(clean)
    hidden = ticket_type(event.id, "Backstage", price_minor=1, hidden=True)
    await sell(clean, event, ticket_type(event.id), hidden, codes=[promo_code(event.id, "CREW", unlocks_hidden=True)])

    shown, wrong = [(await client.get(f"/events/{event.id}?code={code}")).text for code in ("crew", "no")]

    assert "Backstage" in shown
    assert "Backstage" not in wrong
    assert "This code is not valid for this event." in wrong


async def test_links_that_leave_the_pages_have_the_public_address(clean, unlimited):
    async with serving(unlimited.model_copy(update={"public_url": "https://shop.example.org"})) as client:
        event = await (await Callers(client, clean).organizer()).make_event()
        page = (await client.get(f"/events/{event['id']}", headers={"Host": "10.0.0.1"})).text

    assert f'<link rel="canonical" href="https://shop.example.org/events/{event["id"]}">' in page


async def test_the_first_view_of_an_event_is_small(client, organizer):
    event = await organizer.make_event(description="x" * 2_000)

    page = await client.get(f"/events/{event['id']}", headers={"Accept-Encoding": "gzip"})
    assets = set(re.findall(r'"(/assets/[^"]+)"', page.text))
    answers = [page, *[await client.get(path, headers={"Accept-Encoding": "gzip"}) for path in assets]]

    assert len(answers) <= FIRST_VIEW_REQUESTS_MAX
    assert sum(int(answer.headers["Content-Length"]) for answer in answers) < FIRST_VIEW_BYTES_MAX


async def test_assets_are_kept_for_ever_under_an_address_of_their_content(client):
    page = (await client.get("/bookings")).text
    paths = re.findall(r'"(/assets/[^"]+)"', page)
    scripts = [(await client.get(path)).text for path in paths if path.endswith(".js")]
    imported = [path for script in scripts for path in re.findall(r'from "([^"]+)"', script)]

    answers = [await client.get(path) for path in (*paths, *imported)]

    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["Cache-Control"] for answer in answers} == {"public, max-age=31536000, immutable"}
    assert imported
    assert (await client.get("/assets/onsale.000000000000.css")).status_code == 404


@pytest.mark.parametrize("path", [f"/events/{NOBODYS_ID}", "/?cursor=nonsense", "/assets/nothing.js"])
async def test_what_is_not_found_is_a_page(client, path):
    answer = await client.get(path)

    assert answer.status_code in {404, 422}
    assert answer.headers["Content-Type"] == HTML
    assert 'class="card empty"' in answer.text


async def test_without_servers_a_page_asks_again_by_itself(client, organizer, valkey):
    event = await organizer.make_event()
    valkey.stop()

    answer = await client.get(f"/events/{event['id']}")

    assert (answer.status_code, answer.headers["Content-Type"]) == (503, HTML)
    assert f'<meta http-equiv="refresh" content="{answer.headers["Retry-After"]}">' in answer.text


async def test_a_page_is_not_sent_again_while_it_is_the_same(client, organizer):
    event = await organizer.make_event()
    path = f"/events/{event['id']}"
    first = await client.get(path)

    again = await client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    await organizer.patch(f"/api/v1{path}", {"title": "Another title"})
    changed = await client.get(path, headers={"If-None-Match": first.headers["ETag"]})

    assert (again.status_code, changed.status_code) == (304, 200)


async def test_the_documentation_is_linked_from_every_page(client):
    page = (await client.get("/")).text

    for path in ("/api/v1/docs", "/api/v1/redoc", "/api/v1/docs/problems", "/health/ready"):
        assert f'href="{path}"' in page
