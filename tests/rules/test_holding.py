"""Writes for a caller lock its account and compare it again (`domain.store.postgres.accounts.holding`)."""

from __future__ import annotations

import ast
from itertools import chain

import pytest

from tests.processes import ROOT

STORES = {
    "domain/store/postgres/accounts/accounts.py": "Accounts",
    "domain/store/postgres/accounts/sessions.py": "Sessions",
    "domain/store/postgres/events/catalog.py": "Catalog",
    "domain/store/postgres/events/past_events.py": "PastEvents",
    "domain/store/postgres/events/promo_codes.py": "PromoCodes",
    "domain/store/postgres/events/selling.py": "Selling",
    "domain/store/postgres/events/writes.py": "EventWrites",
}
"""The stores that write accounts, sessions, events and what these sell, and their classes."""

HOLDERS = {"hold_caller", "hold_event", "hold_to_sell"}
"""What locks the caller's account and asks it again: alone, with an event, and with an event that is to be changed."""

WITHOUT = {
    "Accounts.create": "there is no account yet",
    "Sessions.open": "no token yet: the account that the password was verified for must be unchanged",
    "Sessions.rotate": "one statement on the session's row, which repeats session, status and epoch",
    "Sessions.end": "ends a session and decides nothing",
    "Sessions.delete_ended": "a worker's: retention",
    "Accounts.set_password": "the operator's, who has no token: holds the account, which may be banned",
    "Accounts.followed_up": "a worker's: conditional on what it followed up",
    "Accounts.note": "adds to the audit log what was done, whatever its actor is by now",
    "Catalog.follow_organizer": "the engine's own: holds the organizer, whoever caused it",
    "Catalog.renew_terms": "the engine's own: holds the organizer, and changes nothing else",
    "Catalog.mark_cleared": "a worker's: clearing",
    "PastEvents.mark_closed": "a worker's: closing events of the past",
    "PastEvents.remove_leftovers": "a worker's: writes no row, holds the event's against an opening",
}
"""Methods that write without a caller, and why."""

WRITTEN = {"accounts", "sessions", "events", "ticket_types", "ticket_pools", "promo_codes"}
"""Tables that only those stores write."""


def methods():
    for path, name in STORES.items():
        tree = ast.parse((ROOT / path).read_text())
        for node in chain.from_iterable(
            each.body for each in tree.body if isinstance(each, ast.ClassDef) and each.name == name
        ):
            if isinstance(node, ast.AsyncFunctionDef) and not node.name.startswith("_"):
                yield f"{name}.{node.name}", node


def called(function):
    """The last part of the name of everything that a function calls."""
    return {
        getattr(node.func, "attr", getattr(node.func, "id", ""))
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
    }


WRITERS = {name: node for name, node in methods() if called(node) & {"begin", "statement"}}


@pytest.mark.parametrize("name", sorted(WRITERS.keys() - WITHOUT.keys()))
def test_what_writes_for_a_caller_holds_its_account(name):
    node = WRITERS[name]
    required = {
        argument.arg
        for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        if default is None
    }

    assert "caller" in required
    assert HOLDERS & called(node)


def test_no_exception_is_left_of_a_method_that_is_gone():
    assert WITHOUT.keys() - WRITERS.keys() == set()


def test_who_calls_is_said_by_tokens_and_commands_only():
    """A caller made by hand could say anything."""
    makers = {
        str(path.relative_to(ROOT))
        for package in ("api", "worker", "domain", "ops", "loadtests")
        for path in (ROOT / package).rglob("*.py")
        if "Caller" in called(ast.parse(path.read_text()))
    }

    assert {path for path in makers if not path.startswith("ops/")} == {"domain/accounts/tokens.py"}


def test_accounts_sessions_and_events_are_written_by_their_stores_only():
    writers = {
        str(path.relative_to(ROOT))
        for package in ("api", "worker", "domain")
        for path in (ROOT / package).rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and getattr(call.func, "id", "") in {"insert", "update", "delete"}
        and call.args
        and getattr(call.args[0], "id", "") in WRITTEN
    }

    assert writers == set(STORES)
