"""ORGANIZER_SIGNUP decides who becomes an organizer: everybody, those promoted by an admin, or nobody."""

from __future__ import annotations

import pytest

from domain.platform.settings import SettingsRefused, load_settings
from tests.api.callers import PASSWORD, Callers
from tests.api.conftest import serving

SIGNUP, ROLE = "/api/v1/auth/signup", "/api/v1/me/role"

CODES = {"approval": "organizer_approval_required", "closed": "organizer_signup_closed"}


@pytest.fixture(params=CODES)
def restricted(request, unlimited):
    """Settings under which nobody becomes an organizer by itself."""
    return unlimited.model_copy(update={"organizer_signup": request.param})


async def test_nobody_becomes_an_organizer_without_an_admin(clean, restricted):
    code = CODES[restricted.organizer_signup]
    async with serving(restricted) as client:
        caller = await Callers(client, clean).attendee()
        body = {"email": "organizer@example.org", "password": PASSWORD, "role": "organizer"}

        signed_up = await client.post(SIGNUP, json=body)
        switched = await caller.patch(ROLE, {"role": "organizer"})

        assert (signed_up.status_code, signed_up.json()["code"]) == (403, code)
        assert (switched.status_code, switched.json()["code"]) == (403, code)
        assert (await caller.get("/api/v1/me")).json()["role"] == "attendee"
        # Nothing was made: the address is free.
        assert (await client.post(SIGNUP, json=body | {"role": "attendee"})).status_code == 201


async def test_an_admin_makes_organizers_and_whoever_is_one_stays_one(clean, restricted):
    async with serving(restricted) as client:
        callers = Callers(client, clean)
        admin, caller = await callers.admin(), await callers.attendee()

        granted = await admin.patch(f"/api/v1/admin/users/role/{caller.id}", {"role": "organizer"})
        organizer = await callers.log_in(caller.email)
        await organizer.make_event()
        same = await organizer.patch(ROLE, {"role": "organizer"})

    assert (granted.status_code, same.status_code) == (200, 200)


async def test_who_gave_the_role_away_does_not_take_it_back(clean, restricted):
    async with serving(restricted) as client:
        callers = Callers(client, clean)
        admin, caller = await callers.admin(), await callers.attendee()
        await admin.patch(f"/api/v1/admin/users/role/{caller.id}", {"role": "organizer"})
        organizer = await callers.log_in(caller.email)
        attendee = (await organizer.patch(ROLE, {"role": "attendee"})).json()

        again = await organizer.patch(ROLE, {"role": "organizer"}, token=attendee["access_token"])

    assert again.status_code == 403


async def test_open_is_as_ever(callers):
    await (await callers.organizer()).make_event()

    assert (await (await callers.attendee()).patch(ROLE, {"role": "organizer"})).status_code == 200


def test_another_word_is_refused_by_the_settings_name(monkeypatch):
    monkeypatch.setenv("ORGANIZER_SIGNUP", "perhaps")

    with pytest.raises(SettingsRefused, match=r"^ORGANIZER_SIGNUP: "):
        load_settings()
