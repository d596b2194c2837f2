"""A refresh token works once; a second use within the grace period gets the same answer (two tabs, a lost answer)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from pydantic import SecretStr

from domain.accounts.tokens import fingerprint
from ops.commands.rotate_keys import rotate
from tests.api.callers import PASSWORD, Callers
from tests.api.conftest import serving
from tests.waiting import eventually

REFRESH = "/api/v1/auth/refresh_token"
ROUNDS = 5


@pytest.fixture
def unlimited(unlimited):
    """No limits, and a grace that no machine is too slow for."""
    return unlimited.model_copy(update={"refresh_grace_seconds": 60})


async def refreshed(caller, token=None):
    answer = await caller.post(REFRESH, token=token or caller.refresh_token)
    assert answer.status_code == 200, answer.text
    return answer.json()


def tokens(session):
    return session["access_token"], session["refresh_token"]


async def is_over(caller, session):
    """Whether none of a session's newest tokens works."""
    seen = await caller.get("/api/v1/me", token=session["access_token"])
    renewed = await caller.post(REFRESH, token=session["refresh_token"])
    return (seen.status_code, renewed.status_code) == (401, 401)


async def test_two_tabs_at_once_get_the_same_tokens(stores, processes):
    """On two processes: whoever is second waits for the first's row and finds what it was exchanged for."""
    urls = [processes.api(RATE_LIMITS="off", REFRESH_GRACE_SECONDS="60").url for _ in range(2)]
    async with httpx.AsyncClient(base_url=urls[0]) as one, httpx.AsyncClient(base_url=urls[1]) as other:
        for _ in range(ROUNDS):
            caller = await Callers(one, stores).attendee()
            tabs = [caller, caller.through(other)] * 4

            answers = await asyncio.gather(*(tab.post(REFRESH, token=caller.refresh_token) for tab in tabs))

            assert {answer.status_code for answer in answers} == {200}
            assert len({tokens(answer.json()) for answer in answers}) == 1
            fresh = answers[0].json()
            assert (await caller.get("/api/v1/me", token=fresh["access_token"])).status_code == 200
            await refreshed(caller, fresh["refresh_token"])


async def test_a_lost_answer_is_given_again_and_its_tokens_work(callers, other_client):
    caller = await callers.attendee()

    first = await refreshed(caller)
    again = await refreshed(caller.through(other_client))

    assert tokens(again) == tokens(first)
    assert first["expires_in"] - 60 <= again["expires_in"] <= first["expires_in"]
    assert (await caller.get("/api/v1/me", token=again["access_token"])).status_code == 200
    assert tokens(await refreshed(caller, again["refresh_token"])) != tokens(first)


async def test_tokens_that_follow_are_not_stored(callers, stores):
    caller = await callers.attendee()
    fresh = await refreshed(caller)

    async with stores.database.connect() as connection:
        rows = str((await connection.exec_driver_sql("SELECT * FROM sessions")).all())

    assert str(fingerprint(fresh["refresh_token"])) in rows
    assert fresh["refresh_token"] not in rows
    assert fresh["access_token"] not in rows


async def test_after_the_grace_a_second_use_ends_the_session(callers, unlimited):
    caller = await callers.attendee()
    async with serving(unlimited.model_copy(update={"refresh_grace_seconds": 1})) as client:
        caller = caller.through(client)
        fresh, since = await refreshed(caller), datetime.now(UTC)

        async def is_past():
            return datetime.now(UTC) > since + timedelta(seconds=1)

        await eventually(is_past)
        late = await caller.post(REFRESH, token=caller.refresh_token)

        assert late.status_code == 401
        assert await is_over(caller, fresh)


async def test_without_grace_a_token_works_once(callers, unlimited):
    caller = await callers.attendee()
    async with serving(unlimited.model_copy(update={"refresh_grace_seconds": 0})) as client:
        caller = caller.through(client)
        fresh = await refreshed(caller)

        assert (await caller.post(REFRESH, token=caller.refresh_token)).status_code == 401
        assert await is_over(caller, fresh)


async def test_once_the_successor_was_used_a_second_use_ends_the_session(callers):
    caller = await callers.attendee()
    second = await refreshed(caller)
    third = await refreshed(caller, second["refresh_token"])

    assert (await caller.post(REFRESH, token=caller.refresh_token)).status_code == 401

    assert await is_over(caller, third)


async def _log_out(caller, _):
    assert (await caller.post("/api/v1/auth/logout")).status_code == 204


async def _ban(caller, callers):
    assert (await (await callers.admin()).delete(f"/api/v1/admin/users/{caller.id}")).status_code == 200


async def _assign_role(caller, callers):
    admin = await callers.admin()
    answer = await admin.patch(f"/api/v1/admin/users/role/{caller.id}", {"role": "organizer"})
    assert answer.status_code == 200


async def _change_password_elsewhere(caller, callers):
    other = await callers.log_in(caller.email)
    changed = await other.patch("/api/v1/me", {"current_password": PASSWORD, "password": "another fine password"})
    assert changed.status_code == 200


async def _close(caller, _):
    assert (await caller.delete("/api/v1/me", json={"current_password": PASSWORD})).status_code == 204


@pytest.mark.parametrize(
    "end", [_log_out, _ban, _assign_role, _change_password_elsewhere, _close], ids=lambda end: end.__name__
)
async def test_a_session_that_ended_gives_no_answer_again(callers, other_client, end):
    caller = await callers.attendee()
    fresh = await refreshed(caller)
    caller.access_token = fresh["access_token"]

    await end(caller, callers)

    for where in (caller, caller.through(other_client)):
        assert (await where.post(REFRESH, token=caller.refresh_token)).status_code == 401
    assert await is_over(caller, fresh)


async def test_the_same_tokens_are_given_again_over_a_rotation_of_keys(callers, tmp_path, unlimited):
    path = tmp_path / "keys.json"
    secret = unlimited.jwt_secret.get_secret_value()
    shared = unlimited.model_copy(update={"jwt_keys_file": path})
    async with serving(shared) as here, serving(shared) as there:
        caller = (await callers.attendee()).through(here)
        fresh = await refreshed(caller)

        rotate(path, first_secret=secret, lifetime_s=604_800, now_s=int(datetime.now(UTC).timestamp()), drop_old=False)

        assert tokens(await refreshed(caller)) == tokens(fresh)
        assert tokens(await refreshed(caller.through(there))) == tokens(fresh)
        assert (await caller.through(there).get("/api/v1/me", token=fresh["access_token"])).status_code == 200


async def test_a_key_that_this_process_has_not_seen_yet_signed_the_answer(callers, tmp_path, unlimited):
    """The first use was answered by a process that noticed the rotation first."""
    path = tmp_path / "keys.json"
    shared = unlimited.model_copy(update={"jwt_keys_file": path})
    async with serving(shared) as behind:
        caller = (await callers.attendee()).through(behind)
        assert (await caller.get("/api/v1/me")).status_code == 200
        secret = unlimited.jwt_secret.get_secret_value()
        now_s = int(datetime.now(UTC).timestamp())
        rotate(path, first_secret=secret, lifetime_s=604_800, now_s=now_s, drop_old=False)

        async with serving(shared) as ahead:
            fresh = await refreshed(caller.through(ahead))

        assert tokens(await refreshed(caller)) == tokens(fresh)


async def test_a_leak_of_keys_ends_the_grace(clean, tmp_path, unlimited):
    path = tmp_path / "keys.json"
    shared = unlimited.model_copy(update={"jwt_keys_file": path, "jwt_secret": SecretStr("a" * 64)})
    async with serving(shared) as client:
        caller = await Callers(client, clean).attendee()
        await refreshed(caller)
        now_s = int(datetime.now(UTC).timestamp())
        rotate(path, first_secret="a" * 64, lifetime_s=604_800, now_s=now_s, drop_old=True)

    async with serving(shared) as client:
        assert (await caller.through(client).post(REFRESH, token=caller.refresh_token)).status_code == 401


async def test_the_role_one_has_and_a_refresh_beside_it_get_the_same_tokens(callers):
    caller = await callers.attendee()

    renewed = await caller.patch("/api/v1/me/role", {"role": "attendee"})
    beside = await refreshed(caller)

    assert renewed.status_code == 200
    assert tokens(beside) == tokens(renewed.json())
    assert (await caller.get("/api/v1/me", token=beside["access_token"])).status_code == 200
    await refreshed(caller, beside["refresh_token"])


async def test_the_role_one_has_after_a_refresh_refreshes_again(callers):
    caller = await callers.attendee()
    first = await refreshed(caller)

    renewed = await caller.patch("/api/v1/me/role", {"role": "attendee"})

    assert tokens(await refreshed(caller, first["refresh_token"])) == tokens(renewed.json())


async def test_roles_and_refreshes_at_once_end_no_session(callers):
    for _ in range(ROUNDS):
        caller = await callers.attendee()

        renewed, beside = await asyncio.gather(
            caller.patch("/api/v1/me/role", {"role": "attendee"}), caller.post(REFRESH, token=caller.refresh_token)
        )

        assert (renewed.status_code, beside.status_code) == (200, 200)
        assert (await caller.get("/api/v1/me", token=renewed.json()["access_token"])).status_code == 200
        assert (await caller.get("/api/v1/me", token=beside.json()["access_token"])).status_code == 200


async def test_many_at_once_for_the_role_one_has_are_all_answered(callers, other_client):
    """Each waits for the session's row and refreshes what the one before it left."""
    for _ in range(ROUNDS):
        caller = await callers.attendee()
        tabs = [caller, caller.through(other_client)] * 4

        answers = await asyncio.gather(*(tab.patch("/api/v1/me/role", {"role": "attendee"}) for tab in tabs))

        assert [answer.status_code for answer in answers] == [200] * len(tabs)
        assert len({answer.json()["refresh_token"] for answer in answers}) == len(tabs)
        async with asyncio.TaskGroup() as seen:
            looks = [
                seen.create_task(caller.get("/api/v1/me", token=answer.json()["access_token"])) for answer in answers
            ]
        assert {look.result().status_code for look in looks} == {200}
