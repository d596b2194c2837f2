"""No ended token works on any process, whatever happened to Redis."""

from __future__ import annotations

import pytest

from domain.background.rebuilding import rebuild
from domain.kernel.refusals import Unavailable
from tests.api.callers import PASSWORD
from tests.waiting import eventually


async def _log_out(caller, _admin):
    assert (await caller.post("/api/v1/auth/logout")).status_code == 204


async def _ban(caller, admin):
    assert (await admin.delete(f"/api/v1/admin/users/{caller.id}")).status_code == 200


async def _assign_role(caller, admin):
    answer = await admin.patch(f"/api/v1/admin/users/role/{caller.id}", {"role": "organizer"})
    assert answer.status_code == 200


async def _switch_role(caller, _admin):
    assert (await caller.patch("/api/v1/me/role", {"role": "organizer"})).status_code == 200


async def _close(caller, _admin):
    answer = await caller.call("DELETE", "/api/v1/me", json={"current_password": PASSWORD})
    assert answer.status_code == 204


async def _nothing(_stores, _valkey):
    """Redis goes on."""


async def _wipe(stores, _valkey):
    await stores.pipeline.redis.flushall()
    await rebuild(stores)


async def _restart(stores, valkey):
    valkey.stop()
    valkey.start()
    await eventually(lambda: _rebuilt(stores))


async def _down(_stores, valkey):
    valkey.stop()


async def _rebuilt(stores):
    try:
        await rebuild(stores)
    except Unavailable:
        return False
    return True


ENDINGS = [_log_out, _ban, _assign_role, _switch_role, _close]
FATES = [_nothing, _wipe, _restart, _down]


@pytest.mark.parametrize("fate", FATES, ids=lambda fate: fate.__name__.strip("_"))
@pytest.mark.parametrize("end", ENDINGS, ids=lambda end: end.__name__.strip("_"))
async def test_an_ended_token_is_dead_everywhere(  # noqa: PLR0913, PLR0917  (what ends it, and what happens then)
    callers, other_client, stores, valkey, end, fate
):
    """S5: PostgreSQL is the truth, Redis is told before the answer. Cookies have the same tokens."""
    admin, caller = await callers.admin(), await callers.attendee()
    there = caller.through(other_client)
    assert (await there.get("/api/v1/me")).status_code == 200
    assert (await there.with_cookies().get("/api/v1/me")).status_code == 200

    await end(caller, admin)
    await fate(stores, valkey)

    for where in (caller, there, caller.with_cookies(), there.with_cookies()):
        assert (await where.get("/api/v1/me")).status_code == 401
        assert (await where.book("0a0a0a0a-0000-4000-8000-00000000aaaa")).status_code == 401
        refused = await where.post("/api/v1/auth/refresh_token", token=caller.refresh_token)
        assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == "Bearer"


async def test_a_living_token_works_while_redis_is_down_but_does_not_book(callers, valkey):
    """S6: sessions are asked of PostgreSQL; what cannot be counted is refused."""
    caller, event = await callers.attendee(), await (await callers.organizer()).make_event()
    valkey.stop()

    seen = await caller.get("/api/v1/me")
    booked = await caller.book(event["id"])

    assert seen.status_code == 200
    assert booked.status_code == 503
    assert booked.headers["Retry-After"]


async def test_a_living_token_works_after_redis_was_wiped(callers, stores):
    caller = await callers.attendee()

    await _wipe(stores, None)

    assert (await caller.get("/api/v1/me")).status_code == 200
    assert (await caller.get("/api/v1/me")).status_code == 200


async def test_a_new_password_ends_every_other_session(callers):
    here = await callers.attendee()
    there = await callers.log_in(here.email)

    changed = await here.patch("/api/v1/me", {"current_password": PASSWORD, "password": "another fine password"})

    assert changed.status_code == 200
    assert (await here.get("/api/v1/me")).status_code == 200
    assert (await there.get("/api/v1/me")).status_code == 401
    assert (await there.post("/api/v1/auth/refresh_token", token=there.refresh_token)).status_code == 401


async def test_a_refresh_token_works_once_and_its_second_use_ends_the_session(callers):
    """S4: exchanged by one conditional statement; reuse of a token whose successor was used is a theft."""
    caller = await callers.attendee()

    first = await caller.get("/api/v1/auth/refresh_token", token=caller.refresh_token)
    fresh = await caller.get("/api/v1/auth/refresh_token", token=first.json()["refresh_token"])
    reused = await caller.get("/api/v1/auth/refresh_token", token=caller.refresh_token)

    assert fresh.status_code == 200
    assert reused.status_code == 401
    assert (await caller.get("/api/v1/me", token=fresh.json()["access_token"])).status_code == 401
    assert (await caller.post("/api/v1/auth/refresh_token", token=fresh.json()["refresh_token"])).status_code == 401


async def test_neither_kind_of_token_passes_for_the_other(callers):
    caller = await callers.attendee()

    assert (await caller.get("/api/v1/me", token=caller.refresh_token)).status_code == 401
    assert (await caller.post("/api/v1/auth/refresh_token")).status_code == 401


async def test_a_switched_role_comes_with_tokens_that_have_it(callers):
    caller = await callers.attendee()

    switched = (await caller.patch("/api/v1/me/role", {"role": "organizer"})).json()

    caller.access_token = switched["access_token"]
    assert switched["role"] == "organizer"
    await caller.make_event()


async def test_the_twenty_first_session_ends_the_first(callers):
    first = await callers.attendee()
    second = await callers.log_in(first.email)
    for _ in range(19):
        await callers.log_in(first.email)

    assert (await first.get("/api/v1/me")).status_code == 401
    assert (await second.get("/api/v1/me")).status_code == 200


async def test_a_closed_account_is_erased_its_bookings_cancelled_and_its_address_free(callers, client):
    organizer, caller = await callers.organizer(), await callers.attendee()
    event = await organizer.make_event(capacity=10)
    booking = (await caller.book(event["id"], quantity=4)).json()

    await _close(caller, None)

    assert (await client.get(f"/api/v1/events/{event['id']}")).json()["remaining"] == 10
    shown = await organizer.get(f"/api/v1/bookings/{booking['id']}/status")
    assert shown.json()["status"] == "cancelled"
    body = {"email": caller.email, "password": PASSWORD}
    assert (await client.post("/api/v1/auth/signup", json=body)).status_code == 201
