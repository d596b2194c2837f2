"""An e-mail address has one account, however it is spelled; accounts from before this rule still log in."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import insert

import migrations
from domain.accounts.accounts import Role, former_email_key
from domain.accounts.passwords import Passwords
from domain.store.postgres.tables import accounts
from migrations.upgrade import migrate
from tests.api.callers import PASSWORD
from tests.cluster import Cluster

UNICODE, PUNYCODE = "a@müller.de", "a@xn--mller-kva.de"
SHARP, DOUBLE = "stra\N{LATIN SMALL LETTER SHARP S}e@x.org", "strasse@x.org"


async def sign_up(client, email):
    return (await client.post("/api/v1/auth/signup", json={"email": email, "password": PASSWORD})).status_code


async def log_in(client, email, password=PASSWORD):
    answer = await client.post("/api/v1/auth/login", json={"email": email, "password": password})
    return answer.json()["user"]["id"] if answer.status_code == 200 else answer.status_code


async def plant(stores, email, *, password=PASSWORD):
    """An account as an older version made it."""
    passwords = Passwords()
    row = {
        "id": uuid4(),
        "email": email,
        "email_key": former_email_key(email),
        "password_hash": await passwords.hash(password),
        "role": Role.ATTENDEE,
        "status": "active",
        "token_epoch": 0,
        "created_at": datetime.now(UTC),
    }
    passwords.close()
    async with stores.database.begin() as connection:
        await connection.execute(insert(accounts).values(row))
    return str(row["id"])


@pytest.mark.parametrize(("first", "second"), [(UNICODE, PUNYCODE), (PUNYCODE, UNICODE)])
async def test_a_domain_in_unicode_and_in_punycode_is_one_account(client, first, second):
    assert await sign_up(client, first) == 201

    assert await sign_up(client, second) == 409

    assert await log_in(client, first) == await log_in(client, second.upper())


async def test_sharp_s_and_double_s_are_two_accounts(client):
    assert (await sign_up(client, SHARP), await sign_up(client, DOUBLE)) == (201, 201)

    assert await log_in(client, SHARP) != await log_in(client, DOUBLE)


async def test_an_address_cannot_be_changed_to_another_spelling_of_somebodys(callers, client):
    assert await sign_up(client, UNICODE) == 201
    caller = await callers.attendee()

    refused = await caller.patch("/api/v1/me", {"current_password": PASSWORD, "email": PUNYCODE})

    assert (refused.status_code, refused.json()["code"]) == (409, "email_taken")


@pytest.mark.parametrize("email", ["a;b@x.org", "<a@x.org>", "a..b@x.org", "a@-x.org"])
async def test_what_is_no_address_is_refused_at_signup_and_by_patch(callers, client, email):
    caller = await callers.attendee()
    answers = [
        await client.post("/api/v1/auth/signup", json={"email": email, "password": PASSWORD}),
        await caller.patch("/api/v1/me", {"current_password": PASSWORD, "email": email}),
    ]

    assert [answer.status_code for answer in answers] == [422, 422]
    assert [answer.json()["errors"][0]["pointer"] for answer in answers] == ["/email", "/email"]


async def test_an_account_with_an_address_of_before_the_rule_still_logs_in(client, stores):
    account_id = await plant(stores, "a;b@x.org")

    assert await log_in(client, "A;B@x.org") == account_id


async def test_two_accounts_that_turned_out_to_have_one_address_both_log_in(client, stores):
    """As the migration leaves them: with what they were compared by before."""
    by_unicode = await plant(stores, UNICODE, password="the password of one")
    by_punycode = await plant(stores, PUNYCODE, password="the password of the other")

    assert await log_in(client, UNICODE, "the password of one") == by_unicode
    assert await log_in(client, PUNYCODE, "the password of the other") == by_punycode
    assert (await sign_up(client, UNICODE), await sign_up(client, PUNYCODE)) == (409, 409)


async def test_an_account_that_an_older_process_made_meanwhile_logs_in_and_keeps_its_address(client, stores):
    account_id = await plant(stores, UNICODE)

    assert await log_in(client, UNICODE) == account_id
    assert await sign_up(client, UNICODE) == 409


async def test_nobody_logs_in_by_what_an_address_was_compared_by_before(client, stores):
    await plant(stores, SHARP)

    assert await log_in(client, DOUBLE) == 401


def test_the_migration_changes_what_accounts_are_compared_by_and_loses_none(database_url, capsys):
    admin_url = re.sub(r"/test_\w+\?", "/postgres?", database_url)
    emails = [UNICODE, PUNYCODE, SHARP, "b@straße.de", "strasse@müller.de", "straße@xn--mller-kva.de", "plain@x.org"]
    with Cluster(admin_url).database() as url, ThreadPoolExecutor(1) as thread:
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        config.attributes["database_url"] = url
        thread.submit(command.downgrade, config, "0005").result()
        asyncio.run(_run(url, _planting(emails)))

        thread.submit(migrate, url).result()

        rows = asyncio.run(_run(url, "SELECT email, email_key FROM accounts"))
        noted = asyncio.run(_run(url, "SELECT action, actor_id FROM audit_log"))
    assert {row["email"]: row["email_key"] for row in rows} == {
        UNICODE: UNICODE,
        PUNYCODE: PUNYCODE,
        SHARP: SHARP,
        "b@straße.de": "b@xn--strae-oqa.de",
        "strasse@müller.de": "strasse@xn--mller-kva.de",
        "straße@xn--mller-kva.de": "straße@xn--mller-kva.de",
        "plain@x.org": "plain@x.org",
    }
    assert [tuple(row) for row in noted] == [("account.address_shared", None)]
    assert "have one e-mail address" in capsys.readouterr().err


def _planting(emails):
    rows = ", ".join(
        f"('{uuid4()}', '{email}', '{former_email_key(email)}', '', 'attendee', 'active', now())" for email in emails
    )
    return f"INSERT INTO accounts (id, email, email_key, password_hash, role, status, created_at) VALUES {rows}"


async def _run(url, statement):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(statement)
    finally:
        await connection.close()
