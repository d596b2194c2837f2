"""The printed passwords of the demo are valid, also after their file was lost."""

from __future__ import annotations

import pytest

from domain.accounts.passwords import Passwords
from ops.commands.accounts import set_password
from ops.commands.demo import describe, make_demo
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
