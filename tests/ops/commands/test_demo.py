"""The printed passwords of the demo are valid, also after their file was lost."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from domain.accounts.passwords import Passwords
from ops.commands.accounts import set_password
from ops.commands.demo import DemoRefused, describe, make_demo
from ops.commands.demo_credentials import DEMO_FILE, ROLES


@pytest.fixture
def hasher():
    passwords = Passwords()
    yield passwords
    passwords.close()


async def fitting(stores, hasher, passwords):
    """The demo accounts whose password is the one given for them."""
    accounts = [await stores.accounts.find_by_email(email) for email in ROLES]
    return {
        account.email for account in accounts if await hasher.verify(passwords[account.email], account.password_hash)
    }


async def test_passwords_whose_file_was_lost_are_set_anew(stores, hasher, tmp_path):
    first = await make_demo(stores, tmp_path)
    (tmp_path / DEMO_FILE).unlink()

    second = await make_demo(stores, tmp_path)

    assert first.passwords != second.passwords
    assert await fitting(stores, hasher, second.passwords) == set(ROLES)
    assert await fitting(stores, hasher, first.passwords) == set()


async def test_a_password_that_was_changed_is_not_printed_any_more(stores, tmp_path):
    first = await make_demo(stores, tmp_path)
    await set_password(stores, email="attendee-1@demo.example", password="a better password")

    again = await make_demo(stores, tmp_path)

    assert again.passwords == first.passwords | {"attendee-1@demo.example": None}
    printed = describe(again, base_url="http://localhost:8000/api/v1")
    assert first.passwords["attendee-1@demo.example"] not in printed
    assert f'"email":"attendee-2@demo.example","password":"{first.passwords["attendee-2@demo.example"]}"' in printed


async def test_a_password_that_somebody_changed_is_left_alone_while_there_is_the_file(stores, hasher, tmp_path):
    await make_demo(stores, tmp_path)
    lost = tmp_path / "elsewhere"
    lost.mkdir()
    changed = await make_demo(stores, lost)

    again = await make_demo(stores, tmp_path)

    assert again.passwords == dict.fromkeys(ROLES)
    assert await fitting(stores, hasher, changed.passwords) == set(ROLES)


async def test_a_lost_file_of_a_demo_with_a_banned_account_is_made_anew(stores, hasher, tmp_path):
    await make_demo(stores, tmp_path)
    (tmp_path / DEMO_FILE).unlink()
    async with stores.database.begin() as connection:
        await connection.execute(text("UPDATE accounts SET status = 'banned', token_epoch = 1 WHERE role = 'attendee'"))

    again = await make_demo(stores, tmp_path)

    assert await fitting(stores, hasher, again.passwords) == set(ROLES)


async def test_a_demo_beside_other_changes_of_its_passwords_is_made(stores, hasher, tmp_path):
    await make_demo(stores, tmp_path)
    (tmp_path / DEMO_FILE).unlink()
    email = "attendee-1@demo.example"

    again, *_ = await asyncio.gather(
        make_demo(stores, tmp_path),
        *(set_password(stores, email=email, password="a better password") for _ in range(3)),
    )

    assert await fitting(stores, hasher, again.passwords) >= ROLES.keys() - {email}


async def test_events_are_not_made_for_an_organizer_that_may_not_sell(stores, tmp_path):
    made = await make_demo(stores, tmp_path)
    async with stores.database.begin() as connection:
        await connection.execute(text("UPDATE accounts SET role = 'attendee' WHERE role = 'organizer'"))

    assert (await make_demo(stores, tmp_path)).event_id == made.event_id
    async with stores.database.begin() as connection:
        await connection.execute(text("UPDATE events SET title = 'Another' WHERE id = :id"), {"id": made.event_id})
    with pytest.raises(DemoRefused, match=r"organizer@demo\.example may not sell \(role attendee, active\)"):
        await make_demo(stores, tmp_path)


async def test_events_of_the_demo_sell_types_pools_and_codes(stores, tmp_path):
    await make_demo(stores, tmp_path)
    first = await catalogues(stores)

    # As if the demo had been interrupted.
    async with stores.database.begin() as connection:
        await connection.execute(text("DELETE FROM promo_codes"))
        await connection.execute(text("DELETE FROM ticket_types WHERE name = 'Shirt'"))
    await make_demo(stores, tmp_path)

    assert await catalogues(stores) == first
    assert first["Meadow Festival"][1] == ["Early bird", "Helper", "Shirt", "Van", "Weekend"]
    assert first["The Paper Lantern: a Play for Families"][2] == ["FRIENDS"]


async def catalogues(stores):
    """The names of pools, ticket types and codes of each event that has some."""
    events = (await stores.events.page(limit=100)).events
    found = {event.title: (await stores.selling.find(event.id)).catalogue for event in events}
    return {
        title: (
            sorted(pool.name for pool in each.pools),
            sorted(kind.name for kind in each.types),
            sorted(code.code for code in each.codes),
        )
        for title, each in found.items()
        if each
    }
