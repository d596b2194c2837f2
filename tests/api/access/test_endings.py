"""P22: after an account, a role or a password has ended, no effect of a concurrent request remains."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from sqlalchemy import text

from domain.background.follow_ups import FollowUps
from domain.background.passes import run
from domain.kernel.refusals import InventoryUnavailable, Unavailable
from domain.sales.orders import TicketOrder
from domain.store.redis.admission import Ask
from tests.api.callers import PASSWORD, event_draft, process_of
from tests.waiting import eventually, persist_all
from worker.passes import passes_of

ROUNDS = 8
"""Over HTTP; `tests/domain/actions/test_account_storms.py` has every pair, 30 rounds each."""

ME = "/api/v1/me"


async def status_of(client, event):
    shown = (await client.get(f"/api/v1/events/{event['id']}")).json()
    return shown["status"], shown["suspended"]


async def one(stores, statement, **values):
    async with stores.database.connect() as connection:
        return (await connection.execute(text(statement), values)).scalar_one()


async def change(stores, statement, **values):
    async with stores.database.begin() as connection:
        await connection.execute(text(statement), values)


async def test_no_token_of_a_role_switched_during_the_ban_works(callers):
    admin = await callers.admin()
    works = []
    for _ in range(ROUNDS):
        caller = await callers.attendee()
        switches = [caller.patch(f"{ME}/role", {"role": "organizer"}) for _ in range(24)]

        *answers, banned = await asyncio.gather(*switches, admin.delete(f"/api/v1/admin/users/{caller.id}"))

        tokens = [answer.json()["access_token"] for answer in answers if answer.status_code == 200]
        assert banned.status_code == 200
        works += [token for token in tokens if (await caller.get(ME, token=token)).status_code != 401]

    assert works == []


async def test_a_second_ban_ends_what_is_left_of_the_first(callers, stores):
    admin, caller = await callers.admin(), await callers.attendee()
    await admin.delete(f"/api/v1/admin/users/{caller.id}")
    before = await one(stores, "SELECT token_epoch FROM accounts WHERE id = :id", id=caller.id)

    again = await admin.delete(f"/api/v1/admin/users/{caller.id}")

    assert (again.status_code, again.json()["status"]) == (200, "banned")
    assert await one(stores, "SELECT token_epoch FROM accounts WHERE id = :id", id=caller.id) == before + 1


async def test_a_closed_account_never_gets_the_address_of_a_change_beside_it(callers, client, stores):
    for _ in range(ROUNDS):
        caller, address = await callers.attendee(), f"new-{(await callers.attendee()).email}"
        change = {"current_password": PASSWORD, "email": address}

        await asyncio.gather(
            *(caller.patch(ME, change) for _ in range(4)),
            caller.call("DELETE", ME, json={"current_password": PASSWORD}),
            *(caller.patch(ME, change) for _ in range(4)),
        )

        assert await one(stores, "SELECT status FROM accounts WHERE id = :id", id=caller.id) == "closed"
        email = await one(stores, "SELECT email FROM accounts WHERE id = :id", id=caller.id)
        assert email == f"closed-{caller.id}@invalid"
        for free in (caller.email, address):
            body = {"email": free, "password": PASSWORD}
            assert (await client.post("/api/v1/auth/signup", json=body)).status_code == 201


async def test_of_two_new_passwords_at_once_one_is_refused_and_the_other_works(callers, client):
    for _ in range(ROUNDS):
        here = await callers.attendee()
        there = await callers.log_in(here.email)
        wanted = {here: "the first new password", there: "the second new password"}

        answers = await asyncio.gather(
            *(who.patch(ME, {"current_password": PASSWORD, "password": new}) for who, new in wanted.items())
        )

        statuses = [answer.status_code for answer in answers]
        (accepted,) = [new for new, status in zip(wanted.values(), statuses, strict=True) if status == 200]
        assert set(statuses) - {200} <= {401, 403}
        logged_in = await client.post("/api/v1/auth/login", json={"email": here.email, "password": accepted})
        assert logged_in.status_code == 200


async def test_nothing_is_on_sale_of_an_organizer_who_is_banned_while_it_puts_events_on_sale(callers, client):
    admin = await callers.admin()
    for _ in range(ROUNDS):
        organizer = await callers.organizer()
        paused = await organizer.make_event()
        await organizer.patch(f"/api/v1/events/{paused['id']}", {"paused": True})
        creating = [organizer.post("/api/v1/events", event_draft()) for _ in range(8)]
        selling = [organizer.patch(f"/api/v1/events/{paused['id']}", {"paused": False}) for _ in range(4)]

        *_, banned = await asyncio.gather(*creating, *selling, admin.delete(f"/api/v1/admin/users/{organizer.id}"))

        assert banned.status_code == 200
        listed = (await client.get("/api/v1/events?limit=100")).json()["items"]
        assert [event for event in listed if event["status"] == "on_sale"] == []


async def test_the_last_admin_who_may_not_leave_keeps_its_bookings(callers, stores):
    admin, organizer = await callers.admin(), await callers.organizer()
    event = await organizer.make_event()
    booking = (await admin.book(event["id"])).json()
    await persist_all(stores)

    refused = await admin.call("DELETE", ME, json={"current_password": PASSWORD})

    assert (refused.status_code, refused.json()["code"]) == (409, "last_admin")
    assert (await admin.get(f"/api/v1/bookings/{booking['id']}/status")).json()["status"] == "confirmed"


async def test_a_closing_that_was_cut_short_is_finished_by_a_worker(callers, client, stores, monkeypatch):
    """Refused or done: nobody can repeat the request, whose token is dead."""
    organizer, caller = await callers.organizer(), await callers.attendee()
    event = await organizer.make_event(capacity=10)
    await caller.book(event["id"], quantity=4)
    await persist_all(stores)
    follow_ups = process_of(client).membership._follow_ups

    async def away(*_, **__):
        detail = "The inventory is being rebuilt."
        raise InventoryUnavailable(detail, retry_after_seconds=1)

    monkeypatch.setattr(follow_ups._box_office, "held_by", away)
    left = await caller.call("DELETE", ME, json={"current_password": PASSWORD})
    taken = (await client.get(f"/api/v1/events/{event['id']}")).json()["booked"]
    await FollowUps(stores).run_due_once(limit=10)

    assert (left.status_code, taken) == (204, 4)
    assert (await client.get(f"/api/v1/events/{event['id']}")).json()["booked"] == 0


async def test_tokens_that_redis_was_not_told_of_are_ended_by_a_worker(callers, client, stores, monkeypatch):
    caller = await callers.attendee()
    here = await callers.log_in(caller.email)
    assert (await caller.get(ME)).status_code == 200
    admission = process_of(client).stores.admission

    async def away(*_, **__):
        detail = "Redis cannot be reached."
        raise Unavailable(detail, retry_after_seconds=1)

    with monkeypatch.context() as patched:
        patched.setattr(admission, "_tell", away)
        changed = await here.patch(ME, {"current_password": PASSWORD, "password": "another fine password"})
    assert changed.status_code == 503
    assert (await caller.get(ME)).status_code == 200

    await FollowUps(stores).run_due_once(limit=10)

    assert (await caller.get(ME)).status_code == 401
    assert (await here.get(ME)).status_code == 200


async def test_a_booking_that_was_under_way_when_its_account_was_closed_is_cancelled(callers, client, stores):
    organizer, caller = await callers.organizer(), await callers.attendee()
    event = await organizer.make_event(capacity=10)
    follow_ups = FollowUps(stores)
    await caller.call("DELETE", ME, json={"current_password": PASSWORD})
    await follow_ups.run_due_once(limit=10)

    await stores.box_office.reserve(Ask.trusted(UUID(caller.id)), TicketOrder(UUID(event["id"]), 4))
    await persist_all(stores)
    assert await follow_ups.run_due_once(limit=10) == 0
    await change(stores, "UPDATE accounts SET follow_up_at = now() WHERE id = :id", id=caller.id)
    assert await follow_ups.run_due_once(limit=10) == 1

    assert (await client.get(f"/api/v1/events/{event['id']}")).json()["booked"] == 0
    await change(
        stores, "UPDATE accounts SET follow_up_since = '2020-01-01', follow_up_at = now() WHERE id = :id", id=caller.id
    )
    await follow_ups.run_due_once(limit=10)
    assert await one(stores, "SELECT follow_up_at FROM accounts WHERE id = :id", id=caller.id) is None


async def test_an_account_that_cannot_be_followed_up_keeps_no_other_back(callers, client, stores):
    """Its row is locked for longer than a statement waits."""
    held, free = await callers.organizer(), await callers.organizer()
    behind, event = await held.make_event(), await free.make_event()
    for organizer in (held, free):
        await change(stores, "UPDATE accounts SET status = 'banned' WHERE id = :id", id=organizer.id)
    follow_ups = FollowUps(stores)

    async with stores.database.begin() as connection:
        await connection.execute(text("SELECT FROM accounts WHERE id = :id FOR UPDATE"), {"id": held.id})
        await follow_ups.run_due_once(limit=10)
    found = await status_of(client, behind), await status_of(client, event)
    await follow_ups.run_due_once(limit=10)

    assert found == (("on_sale", False), ("paused", True))
    assert await status_of(client, behind) == ("paused", True)


async def test_an_account_that_fails_unexpectedly_keeps_no_other_back(callers, client, stores, monkeypatch):
    broken, fine = await callers.organizer(), await callers.organizer()
    event = await fine.make_event()
    for organizer in (broken, fine):
        await change(stores, "UPDATE accounts SET status = 'banned' WHERE id = :id", id=organizer.id)
    follow_ups = FollowUps(stores)
    behind = stores.event_actions.behind_organizer

    async def fails(organizer_id, **page):
        if organizer_id == UUID(broken.id):
            message = "nobody thought of this"
            raise LookupError(message)
        return await behind(organizer_id, **page)

    monkeypatch.setattr(stores.event_actions, "behind_organizer", fails)
    first, second = await follow_ups.run_due_once(limit=1), await follow_ups.run_due_once(limit=1)

    assert (first, second) == (1, 1)
    assert await status_of(client, event) == ("paused", True)
    left = await one(stores, "SELECT count(*) FROM accounts WHERE follow_up_at > now() AND id = :id", id=broken.id)
    assert left == 1


async def test_a_worker_follows_up_what_nobody_does(callers, client, stores):
    organizer = await callers.organizer()
    event = await organizer.make_event()
    (follow_ups,) = [each for each in passes_of(stores) if each.name == "follow_ups"]
    working = asyncio.create_task(run(follow_ups))

    await change(stores, "UPDATE accounts SET role = 'attendee', token_epoch = 1 WHERE id = :id", id=organizer.id)

    await eventually(lambda: status_of(client, event), is_so=lambda found: found == ("paused", True))
    await change(stores, "UPDATE accounts SET role = 'organizer' WHERE id = :id", id=organizer.id)
    await eventually(lambda: status_of(client, event), is_so=lambda found: found == ("on_sale", False))
    assert (await organizer.get(ME)).status_code == 401
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


async def test_a_role_switched_beside_a_refresh_keeps_its_session(callers):
    for _ in range(ROUNDS):
        caller = await callers.attendee()

        switched, _ = await asyncio.gather(
            caller.patch(f"{ME}/role", {"role": "organizer"}),
            caller.post("/api/v1/auth/refresh_token", token=caller.refresh_token),
        )

        if switched.status_code == 200:
            assert (await caller.get(ME, token=switched.json()["access_token"])).status_code == 200


async def switch(organizer, _admin):
    answer = await organizer.patch(f"{ME}/role", {"role": "attendee"})
    organizer.access_token = answer.json()["access_token"]


async def demote(organizer, admin):
    await admin.patch(f"/api/v1/admin/users/role/{organizer.id}", {"role": "attendee"})


async def ban(organizer, admin):
    await admin.delete(f"/api/v1/admin/users/{organizer.id}")


async def switch_back(organizer, _admin):
    await organizer.patch(f"{ME}/role", {"role": "organizer"})


async def promote(organizer, admin):
    await admin.patch(f"/api/v1/admin/users/role/{organizer.id}", {"role": "organizer"})


async def unban(organizer, admin):
    await admin.post(f"/api/v1/admin/users/{organizer.id}/unban")


@pytest.mark.parametrize(
    ("end", "undo"),
    [(switch, switch_back), (demote, promote), (ban, unban)],
    ids=lambda step: step.__name__,
)
async def test_events_are_suspended_with_their_organizer_and_only_that_is_undone(  # noqa: PLR0913, PLR0917
    callers, client, other_client, stores, end, undo
):
    """Two processes: the other one has the terms of before in its cache."""
    admin, organizer, buyer = await callers.admin(), await callers.organizer(), await callers.attendee()
    selling, paused = await organizer.make_event(), await organizer.make_event()
    await organizer.patch(f"/api/v1/events/{paused['id']}", {"paused": True})
    there = buyer.through(other_client)
    assert (await there.book(selling["id"])).status_code == 202

    await end(organizer, admin)

    assert await status_of(client, selling) == ("paused", True)
    assert await status_of(client, paused) == ("paused", True)
    refused = await there.book(selling["id"])
    assert (refused.status_code, refused.json()["code"]) == (409, "not_on_sale")
    assert refused.json()["event_status"] == "paused"

    await admin.patch(f"/api/v1/events/{selling['id']}", {"paused": False, "title": "Still suspended"})
    assert await status_of(client, selling) == ("paused", True)
    assert (await there.book(selling["id"])).status_code == 409

    await undo(organizer, admin)

    assert await status_of(client, selling) == ("on_sale", False)
    assert await status_of(client, paused) == ("paused", False)
    assert (await there.book(selling["id"])).status_code == 202
    await persist_all(stores)


async def test_an_organizer_who_leaves_sells_nothing_any_more(callers, client):
    organizer, buyer = await callers.organizer(), await callers.attendee()
    event = await organizer.make_event()

    await organizer.call("DELETE", ME, json={"current_password": PASSWORD})

    assert await status_of(client, event) == ("paused", True)
    assert (await buyer.book(event["id"])).json()["event_status"] == "paused"


async def test_what_an_admin_pauses_during_the_ban_stays_paused_after_it(callers, client):
    admin, organizer = await callers.admin(), await callers.organizer()
    event = await organizer.make_event()
    await ban(organizer, admin)

    await admin.patch(f"/api/v1/events/{event['id']}", {"paused": True})
    await unban(organizer, admin)

    assert await status_of(client, event) == ("paused", False)


async def test_a_suspension_that_was_cut_short_is_finished_by_a_worker(callers, client, stores):
    """The ban stands, as one made by hand, or by the previous release, which knows no suspension."""
    organizer, buyer = await callers.organizer(), await callers.attendee()
    event = await organizer.make_event()
    assert (await buyer.book(event["id"])).status_code == 202
    await change(stores, "UPDATE accounts SET status = 'banned' WHERE id = :id", id=organizer.id)

    looked_at = await FollowUps(stores).run_due_once(limit=10)

    assert looked_at == 1
    assert await status_of(client, event) == ("paused", True)
    assert (await buyer.book(event["id"])).status_code == 409
    assert await FollowUps(stores).run_due_once(limit=10) == 0


async def test_the_role_one_has_makes_no_second_session(callers, stores):
    caller = await callers.attendee()

    again = (await caller.patch(f"{ME}/role", {"role": "attendee"})).json()

    count = "SELECT count(*) FROM sessions WHERE account_id = :id AND revoked_at IS NULL"
    assert await one(stores, count, id=caller.id) == 1
    await caller.post("/api/v1/auth/logout")
    assert (await caller.get(ME, token=again["access_token"])).status_code == 401
    assert (await caller.post("/api/v1/auth/refresh_token", token=again["refresh_token"])).status_code == 401


async def test_the_refresh_token_of_a_switched_role_works(callers):
    caller = await callers.attendee()

    switched = (await caller.patch(f"{ME}/role", {"role": "organizer"})).json()
    fresh = await caller.post("/api/v1/auth/refresh_token", token=switched["refresh_token"])

    assert (fresh.status_code, fresh.json()["user"]["role"]) == (200, "organizer")
    assert (await caller.post("/api/v1/auth/refresh_token", token=caller.refresh_token)).status_code == 401


async def test_a_demoted_admin_does_nothing_more(callers):
    """Its request was admitted before."""
    for _ in range(ROUNDS):
        first, second, victim = await callers.admin(), await callers.admin(), await callers.attendee()

        banned, _ = await asyncio.gather(
            second.delete(f"/api/v1/admin/users/{victim.id}"),
            first.patch(f"/api/v1/admin/users/role/{second.id}", {"role": "attendee"}),
        )

        log = (await first.get("/api/v1/admin/audit-log?limit=2")).json()["items"]
        assert banned.status_code in {200, 401}
        assert log[0]["action"] == "account.role_changed" or banned.status_code == 401
