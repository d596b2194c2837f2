"""Bookings over HTTP: keys, polling, cancelling, lists."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID

from sqlalchemy import text

from domain.store.redis.keys import unpersisted_key
from tests.waiting import persist_all

NOBODYS_ID = "0b0b0b0b-0000-4000-8000-000000000002"

ODD_KEYS = ["", "x" * 256, "with space", "ä"]

ODD_PREFERENCES = ["wait=", "wait=-1", "wait=1e9", "wait=x", "respond-async", "wait=0", ";;,,="]


async def _sale(callers, **fields):
    organizer = await callers.organizer()
    return organizer, await organizer.make_event(**fields), await callers.attendee()


async def test_one_key_makes_one_booking(callers, other_client):
    _, event, buyer = await _sale(callers)
    there = buyer.through(other_client)

    answers = await asyncio.gather(*((buyer, there)[n % 2].book(event["id"], key="k") for n in range(20)))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sorted(answer.headers.get("Idempotent-Replayed", "") for answer in answers) == [""] + ["true"] * 19


async def test_the_replay_of_a_final_booking_is_200(callers, stores):
    _, event, buyer = await _sale(callers)
    first = (await buyer.book(event["id"], key="k")).json()
    pending = await buyer.book(event["id"], key="k")
    await persist_all(stores)

    confirmed = await buyer.book(event["id"], key="k")
    waited = await buyer.book(event["id"], key="k", Prefer="wait=5")
    await buyer.delete(f"/api/v1/bookings/{first['id']}")
    cancelled = await buyer.book(event["id"], key="k")

    assert (pending.status_code, pending.json()) == (202, first)
    assert [(answer.status_code, answer.json()["status"]) for answer in (confirmed, waited, cancelled)] == [
        (200, "confirmed"),
        (200, "confirmed"),
        (200, "cancelled"),
    ]
    for answer in (pending, confirmed, waited, cancelled):
        assert answer.headers["Idempotent-Replayed"] == "true"
        assert answer.headers["Location"] == f"/api/v1/bookings/{first['id']}/status"
        assert answer.json()["id"] == first["id"]


async def test_a_key_with_another_body_is_refused(callers):
    organizer, event, buyer = await _sale(callers)
    others = [await organizer.make_event() for _ in range(3)]
    assert (await buyer.book(event["id"], key="k")).status_code == 202

    more = await buyer.book(event["id"], key="k", quantity=2)
    elsewhere = [await buyer.book(other["id"], key="k") for other in others]

    for answer in (more, *elsewhere):
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_key_is_each_accounts_own(callers):
    _, event, buyer = await _sale(callers)
    other = await callers.attendee()

    first, second = await buyer.book(event["id"], key="k"), await other.book(event["id"], key="k")

    assert first.json()["id"] != second.json()["id"]


async def test_a_body_spelled_differently_is_the_same(callers):
    _, event, buyer = await _sale(callers)
    spelled = ({"event_id": event["id"]}, {"quantity": 1, "event_id": event["id"].upper()})

    answers = [await buyer.post("/api/v1/bookings", body, headers={"Idempotency-Key": "k"}) for body in spelled]

    assert answers[0].json()["id"] == answers[1].json()["id"]


async def test_an_odd_key_is_refused(callers):
    _, event, buyer = await _sale(callers)

    for key in ODD_KEYS:
        answer = await buyer.post(
            "/api/v1/bookings", {"event_id": event["id"]}, headers={"Idempotency-Key": key.encode()}
        )

        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/Idempotency-Key")


async def test_refusals_carry_their_facts(callers):
    organizer, event, buyer = await _sale(callers, capacity=5, max_per_user=4)
    scheduled = await organizer.make_event(sales_open_at="2099-01-01T00:00:00Z", starts_at="2099-02-01T00:00:00Z")

    await buyer.book(event["id"], quantity=3)
    limit = await buyer.book(event["id"], quantity=2)
    sold_out = await (await callers.attendee()).book(event["id"], quantity=3)
    too_early = await buyer.book(scheduled["id"])
    missing = await buyer.book(NOBODYS_ID)

    assert (limit.status_code, limit.json()["code"]) == (409, "per_user_limit")
    assert limit.json()["detail"] == "An account may book 4 tickets of this event. Yours has 3 tickets already."
    assert (limit.json()["limit"], limit.json()["already_booked"]) == (4, 3)
    assert (sold_out.status_code, sold_out.json()["code"], sold_out.json()["remaining"]) == (409, "sold_out", 2)
    assert sold_out.json()["detail"] == "The event has only 2 tickets left. Book fewer."
    assert (too_early.status_code, too_early.json()["code"]) == (409, "not_on_sale")
    assert too_early.json()["sales_open_at"] == "2099-01-01T00:00:00Z"
    assert (missing.status_code, missing.json()["code"]) == (404, "event_not_found")


async def test_what_cannot_be_kept_is_not_accepted(callers, stores):
    _, event, buyer = await _sale(callers)
    waiting = (await buyer.book(event["id"])).json()
    partition = UUID(waiting["id"]).bytes[15]
    six_seconds_ago_ms = await stores.inventory.now_ms() - 6_000
    await stores.pipeline.redis.zadd(unpersisted_key(partition), {waiting["id"]: six_seconds_ago_ms})

    refused = await buyer.book(event["id"], key="k")
    await persist_all(stores)
    accepted = await buyer.book(event["id"], key="k")

    assert (refused.status_code, refused.json()["code"]) == (503, "persistence_lagging")
    assert int(refused.headers["Retry-After"]) >= 1
    assert accepted.status_code == 202


async def test_a_booking_is_not_cancelled_after_its_event_began(callers, stores):
    _, event, buyer = await _sale(callers)
    booking = (await buyer.book(event["id"])).json()
    await persist_all(stores)
    async with stores.database.begin() as connection:
        await connection.execute(text("UPDATE events SET starts_at = now() - interval '1 minute'"))
    await stores.catalog.renew_terms(UUID(event["id"]))

    answer = await buyer.delete(f"/api/v1/bookings/{booking['id']}")

    assert (answer.status_code, answer.json()["code"]) == (409, "event_started")
    assert (await buyer.get(f"/api/v1/bookings/{booking['id']}/status")).json()["status"] == "confirmed"


async def test_a_booking_that_was_rejected_says_why(callers, stores):
    _, event, buyer = await _sale(callers)
    booking = (await buyer.book(event["id"], quantity=2)).json()
    async with stores.database.begin() as connection:
        await connection.execute(text("UPDATE counters SET size = 1"))
    await persist_all(stores)
    async with stores.database.begin() as connection:
        await connection.execute(text("UPDATE counters SET size = 100"))

    shown = (await buyer.get(f"/api/v1/bookings/{booking['id']}/status")).json()

    assert (shown["status"], shown["reason"]) == ("rejected", "sold_out")
    assert (await buyer.get(f"/api/v1/events/{event['id']}")).json()["booked"] == 0


async def test_a_status_that_is_known_is_not_sent_again(callers, stores):
    _, event, buyer = await _sale(callers)
    path = (await buyer.book(event["id"])).headers["Location"]
    etag = (await buyer.get(path)).headers["ETag"]

    same = await buyer.get(path, headers={"If-None-Match": etag})
    await persist_all(stores)
    changed = await buyer.get(path, headers={"If-None-Match": etag})

    assert (same.status_code, same.content) == (304, b"")
    assert (changed.status_code, changed.json()["status"]) == (200, "confirmed")


async def test_a_long_poll_answers_when_the_booking_is_confirmed(callers, worker):  # noqa: ARG001
    _, event, buyer = await _sale(callers)
    path = (await buyer.book(event["id"])).headers["Location"]

    answer = await buyer.get(path, headers={"Prefer": "wait=20"})

    assert answer.json()["status"] == "confirmed"


async def test_an_odd_preference_is_ignored(callers):
    _, event, buyer = await _sale(callers)

    for prefer in ODD_PREFERENCES:
        answer = await buyer.book(event["id"], Prefer=prefer)

        assert answer.status_code == 202
        assert "Preference-Applied" not in answer.headers


async def test_a_stream_tells_each_change_until_it_is_final(callers, worker):  # noqa: ARG001
    _, event, buyer = await _sale(callers)
    path = (await buyer.book(event["id"])).headers["Location"]

    answer = await buyer.get(path, headers={"Accept": "text/event-stream"})

    told = [json.loads(line[6:])["status"] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert told[-1] == "confirmed"
    assert told in (["confirmed"], ["pending", "confirmed"])


async def test_a_booking_is_seen_by_its_owner_the_organizer_and_admins_only(callers):
    organizer, event, buyer = await _sale(callers)
    path = (await buyer.book(event["id"])).headers["Location"]
    strangers = [await callers.attendee(), await callers.organizer()]

    seen = [(await caller.get(path)).status_code for caller in (buyer, organizer, await callers.admin())]
    unseen = [await caller.get(path) for caller in strangers]

    assert seen == [200, 200, 200]
    assert [(answer.status_code, answer.json()["code"]) for answer in unseen] == [(404, "booking_not_found")] * 2
    cancelling = [(await caller.delete(path.removesuffix("/status"))).status_code for caller in (*strangers, organizer)]
    assert cancelling == [404, 404, 200]


async def test_whoever_became_an_organizer_still_cancels_what_it_booked(callers):
    _, event, buyer = await _sale(callers)
    booking = (await buyer.book(event["id"])).json()
    buyer.access_token = (await buyer.patch("/api/v1/me/role", {"role": "organizer"})).json()["access_token"]

    cancelled = await buyer.delete(f"/api/v1/bookings/{booking['id']}")

    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")


async def test_cancelling_again_is_the_same_answer(callers, client, stores):
    _, event, buyer = await _sale(callers, capacity=3)
    booking = (await buyer.book(event["id"], quantity=3)).json()
    await persist_all(stores)

    answers = await asyncio.gather(*(buyer.delete(f"/api/v1/bookings/{booking['id']}") for _ in range(10)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["cancelled_at"] for answer in answers}) == 1
    assert (await client.get(f"/api/v1/events/{event['id']}")).json()["remaining"] == 3


async def test_own_bookings_are_listed_page_by_page_newest_first(callers, stores):
    _, event, buyer = await _sale(callers)
    made = [(await buyer.book(event["id"])).json()["id"] for _ in range(5)]
    await persist_all(stores)
    made += [(await buyer.book(event["id"])).json()["id"] for _ in range(2)]

    seen, cursor = [], ""
    while cursor is not None:
        page = (await buyer.get(f"/api/v1/bookings/my-bookings?limit=3{cursor and '&cursor='}{cursor}")).json()
        seen += [booking["id"] for booking in page["items"]]
        cursor = page["next_cursor"]

    assert set(seen) == set(made)
    assert len(seen) == 7


async def test_a_guest_list_is_for_the_events_owner_and_admins(callers, stores):
    organizer, event, buyer = await _sale(callers)
    booking = (await buyer.book(event["id"], quantity=2)).json()
    await persist_all(stores)
    path = f"/api/v1/bookings/{event['id']}"

    guests = (await organizer.get(path)).json()
    others = [(await caller.get(path)).status_code for caller in (buyer, await callers.organizer())]

    assert guests["items"] == [
        {
            "booking_id": booking["id"],
            "user_id": buyer.id,
            "email": buyer.email,
            "quantity": 2,
            "status": "confirmed",
            "created_at": guests["items"][0]["created_at"],
            "name": None,
            "items": [
                {
                    "ticket_type_id": event["id"],
                    "name": "General admission",
                    "quantity": 2,
                    "unit_price_minor": 0,
                    "discount_minor": 0,
                    "sum_minor": 0,
                }
            ],
            "total_minor": 0,
            "currency": None,
        }
    ]
    assert others == [403, 403]
    assert (await (await callers.admin()).get(path)).status_code == 200


async def test_an_accepted_booking_is_read_at_once_on_every_process(callers, other_client):
    _, event, buyer = await _sale(callers)

    path = (await buyer.book(event["id"])).headers["Location"]

    assert (await buyer.through(other_client).get(path)).status_code == 200


async def test_an_organizer_books_its_own_events_and_no_others(callers):
    organizer, other = await callers.organizer(), await callers.organizer()
    own, others = (await organizer.make_event())["id"], (await other.make_event())["id"]

    booked = await organizer.book(own, key="order-7")
    again = await organizer.book(own, key="order-7")
    refused = [await organizer.book(others), await organizer.book(others, key="order-8")]
    reused = await organizer.book(own, quantity=2, key="order-7")
    missing = await organizer.book(NOBODYS_ID)
    mine = await organizer.get("/api/v1/bookings/my-bookings")

    assert (booked.status_code, again.json()["id"]) == (202, booked.json()["id"])
    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(403, "forbidden")}
    assert (reused.status_code, missing.status_code) == (422, 404)
    assert [each["id"] for each in mine.json()["items"]] == [booked.json()["id"]]
