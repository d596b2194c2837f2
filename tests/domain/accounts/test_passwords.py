"""Passwords: rules, cost of hashes, and a bounded number of hashes at a time."""

from __future__ import annotations

import asyncio

import pytest
from argon2 import PasswordHasher, extract_parameters

from domain.accounts.passwords import THREADS_MAX, WAITING_MAX, Passwords, broken_rule
from domain.kernel.refusals import Unavailable


@pytest.fixture
def passwords():
    made = Passwords()
    yield made
    made.close()


def test_guessable_passwords_are_refused():
    guessable = ["short", "x" * 129, "password123", "PassWord123", "12345678", "Me@Example.org", "qwertyuiop"]

    assert [password for password in guessable if broken_rule(password, email="me@example.org") is None] == []


def test_long_passwords_of_any_script_are_accepted():
    for password in ("correct horse battery", "пароль-длинный", "🎻🎻🎻🎻🎻🎻🎻🎻", "x" * 128):
        assert broken_rule(password, email="me@example.org") is None


async def test_two_spellings_of_a_letter_are_one_password(passwords):
    kept = await passwords.hash("cafe\u0301 au lait")

    assert await passwords.verify("caf\u00e9 au lait", kept)


async def test_a_hash_costs_what_owasp_asks_for(passwords):
    """S9: argon2id with 19 MiB and two passes."""
    parameters = extract_parameters(await passwords.hash("a fine long password"))

    assert (parameters.type.name, parameters.memory_cost, parameters.time_cost) == ("ID", 19_456, 2)


async def test_an_older_hash_verifies_and_is_outdated(passwords):
    old = PasswordHasher(time_cost=1, memory_cost=8_192, parallelism=1).hash("a fine long password")

    assert await passwords.verify("a fine long password", old)
    assert passwords.outdated(old)
    assert not passwords.outdated(await passwords.hash("a fine long password"))


@pytest.mark.parametrize("kept", [None, "", "not a hash"])
async def test_nothing_matches_no_hash(passwords, kept):
    assert not await passwords.verify("a fine long password", kept)


async def test_an_unknown_account_costs_as_much_as_a_wrong_password(passwords):
    """S8: the same work, whoever there is."""
    kept = await passwords.hash("a fine long password")
    verified = []
    passwords._matches = lambda *given: verified.append(given) is not None

    await passwords.verify("wrong password", kept)
    await passwords.verify("wrong password", None)

    assert [extract_parameters(hash_) for hash_, _ in verified] == [extract_parameters(kept)] * 2


async def test_more_logins_than_can_wait_are_refused_and_the_rest_served(passwords):
    """S9: two threads and a short queue."""
    rush = THREADS_MAX + WAITING_MAX + 10

    answers = await asyncio.gather(
        *(passwords.hash("a fine long password") for _ in range(rush)), return_exceptions=True
    )

    refused = [answer for answer in answers if isinstance(answer, Unavailable)]
    assert len(refused) == 10
    assert {refusal.facts["retry_after_seconds"] for refusal in refused} == {2}
    assert await passwords.hash("a fine long password")
