"""The shell sessions of README.md and docs/api.md run as they are written."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.contract.pages import API, README, shell_sessions
from tests.factories import make_account, make_event
from tests.processes import ROOT

API_LINE = re.compile(r"^API=.*$", re.MULTILINE)

HAS_CURL = shutil.which("curl") is not None

SESSIONS = {
    "book": shell_sessions(README, "Book a ticket")[0],
    "sell": shell_sessions(API, "Ticket types, pools, promo codes")[0],
} | dict(zip(("attendee", "organizer", "admin"), shell_sessions(API, "Journeys"), strict=True))


@pytest.fixture
def stand_in(tmp_path):
    """A folder with the `curl` of tests/contract/curl.py, for PATH."""
    curl = tmp_path / "curl"
    curl.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT}/tests/contract/curl.py" "$@"\n')
    curl.chmod(0o755)
    return tmp_path


@pytest.fixture
def run(clean, processes, settings, stand_in):  # noqa: ARG001  (clean servers)
    """Runs one of the sessions; answers the JSON and the text that it printed."""
    api, _ = processes.api(), processes.worker()

    async def run(name, *, has_curl=HAS_CURL):
        path = os.environ["PATH"] if has_curl else f"{stand_in}:{os.environ['PATH']}"
        session, replaced = API_LINE.subn(f"API={api.url}/api/v1", SESSIONS[name])
        assert replaced == 1
        done = await asyncio.to_thread(
            subprocess.run,
            ["bash", "-euo", "pipefail", "-c", session],
            cwd=ROOT,
            env=os.environ | _servers(settings) | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return _printed(done.stdout)

    return run


async def test_a_ticket_is_booked_as_the_readme_books_it(run, clean):
    await make_event(clean)

    profile, confirmed = await run("book")

    assert profile["role"] == "attendee"
    assert (confirmed["status"], confirmed["quantity"]) == ("confirmed", 2)


async def test_a_machine_without_curl_runs_the_same_sessions(run, clean):
    await make_event(clean)

    profile, confirmed = await run("book", has_curl=False)

    assert (profile["role"], confirmed["status"]) == ("attendee", "confirmed")


async def test_the_attendees_journey(run, clean):
    event = await make_event(clean, capacity=5)

    profile, status, mine, cancelled, dashboard = await run("attendee")

    assert profile["role"] == "attendee"
    assert (status["event_id"], status["status"]) == (str(event.id), "confirmed")
    assert [booking["id"] for booking in mine["items"]] == [status["id"]]
    assert (cancelled["id"], cancelled["status"]) == (status["id"], "cancelled")
    assert dashboard["upcoming"] == []


async def test_the_organizers_journey(run):
    profile, changed, dashboard, guests, cancelled = await run("organizer")

    assert profile["role"] == "organizer"
    assert (changed["capacity"], changed["status"]) == (1200, "on_sale")
    assert dashboard["totals"]["remaining"] == 1200
    assert (
        guests.strip()
        == '"booking_id","user_id","email","quantity","status","created_at","name","tickets","total_minor","currency"'
    )
    assert (cancelled["id"], cancelled["status"]) == (changed["id"], "cancelled")


async def test_tickets_of_a_pool_are_sold_with_a_code_and_paid_as_the_page_sells_them(run):
    codes, paid, pools = await run("sell")

    assert [each["code"] for each in codes["items"]] == ["FRIENDS"]
    assert (paid["status"], paid["total_minor"], paid["promo_code"]) == ("confirmed", 6000, "FRIENDS")
    assert (paid["paid_minor"], paid["refund_due_minor"]) == (6000, 0)
    assert [(each["name"], each["size"], each["taken"]) for each in pools["items"]] == [("Box", 40, 2)]


async def test_the_admins_journey(run, clean):
    attendee, event = await make_account(clean), await make_event(clean, capacity=7)

    banned, unbanned, books, log = await run("admin")

    assert banned == {"id": str(attendee), "status": "banned"}
    assert unbanned == {"id": str(attendee), "status": "active"}
    assert (books["event_id"], books["remaining"], books["drift"]) == (str(event.id), 7, 0)
    assert [entry["action"] for entry in log["items"]] == ["account.unbanned", "account.banned"]


def _servers(settings):
    names = ("database_url", "redis_url", "queue_url", "jwt_secret")
    return {name.upper(): getattr(settings, name).get_secret_value() for name in names}


def _printed(text):
    """JSON values one after the other; what stands between them as text."""
    found, decoder = [], json.JSONDecoder()
    while text := text.strip():
        if text.startswith("{"):
            value, end = decoder.raw_decode(text)
        else:
            end = text.find("{") if "{" in text else len(text)
            value = text[:end]
        found.append(value)
        text = text[end:]
    return found
