"""A run of schemathesis against the API as one role."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain.accounts.accounts import Role
from domain.accounts.passwords import Passwords
from ops.supervision.launcher import launcher
from tests.api.callers import PASSWORD, event_draft
from tests.processes import ROOT

if TYPE_CHECKING:
    import httpx

    from domain.accounts.accounts import Account
    from domain.engine import Stores

    Headers = dict[str, str]

CONFIG = Path(__file__).with_name("schemathesis.toml")

CHECK_LEFT_OUT = "use_after_free"
"""DELETE cancels an event or a booking and bans a user; the record stays, and whoever could see it still can."""

ANONYMOUS = "anonymous"

THINGS = 4
"""Of each kind there are so many for the requests to meet; they cancel, ban and delete them."""


@dataclass(frozen=True)
class Fuzzed:
    """What a run did and found."""

    said: str
    exit_code: int
    summary: dict[str, Any]

    @property
    def cases(self) -> int:
        """How many requests were made up and judged."""
        return int(self.summary["test_cases"]["generated"])


@dataclass(frozen=True)
class World:
    """What is there for the requests to meet."""

    events: list[str]
    bookings: list[str]
    users: list[str]
    types: list[str]
    pools: list[str]
    codes: list[str]


async def account(stores: Stores, name: str, role: Role) -> Account:
    """Somebody who can log in with `PASSWORD`."""
    passwords = Passwords()
    password_hash = await passwords.hash(PASSWORD)
    passwords.close()
    return await stores.accounts.create(
        email=f"{name}@example.org", password_hash=password_hash, role=role, now=datetime.now(UTC)
    )


def logged_in(client: httpx.Client, who: Account) -> Headers:
    """The header of an account's requests."""
    answer = client.post("/api/v1/auth/login", json={"email": who.email, "password": PASSWORD})
    return {"Authorization": f"Bearer {answer.raise_for_status().json()['access_token']}"}


def furnish(client: httpx.Client, keeper: Headers, caller: Headers | None, role: str) -> World:
    """Events, bookings and users: the caller's own where its role can have them, else the keeper's."""
    seller = caller if caller and role != Role.ATTENDEE else keeper
    buyer = caller if caller and role != Role.ORGANIZER else keeper
    events = [_made(client, "/api/v1/events", event_draft(capacity=1000), seller) for _ in range(THINGS)]
    order = {"event_id": events[0], "quantity": 1}
    bookings = [_made(client, "/api/v1/bookings", order, buyer) for _ in range(THINGS)]
    signups = [{"email": f"met{number}@example.org", "password": PASSWORD} for number in range(THINGS)]
    users = [_made(client, "/api/v1/auth/signup", signup, {}) for signup in signups]
    return World(events, bookings, users, *_sold(client, f"/api/v1/events/{events[0]}", seller))


def _sold(client: httpx.Client, event: str, seller: Headers) -> tuple[list[str], list[str], list[str]]:
    """The ticket types, pools and promo codes of an event."""
    pools = [_made(client, f"{event}/pools", {"name": f"P{number}", "size": 100}, seller) for number in range(THINGS)]
    types = [_made(client, f"{event}/ticket-types", {"name": "T", "pools": [pool]}, seller) for pool in pools]
    generated = {"pattern": "CODE-#####", "count": THINGS}
    answer = client.post(f"{event}/promo-codes", json=generated, headers=seller).raise_for_status()
    return types, pools, [each["id"] for each in answer.json()["items"]]


def _made(client: httpx.Client, path: str, body: dict[str, Any], by: Headers) -> str:
    made: str = client.post(path, json=body, headers=by).raise_for_status().json()["id"]
    return made


def environment_of(caller: Account | None, keeper: Account) -> dict[str, str]:
    """The hooks, and what `callers` is told when somebody in particular calls."""
    if caller is None:
        return {"SCHEMATHESIS_HOOKS": "tests.contract.fuzzing.answers"}
    return {
        "SCHEMATHESIS_HOOKS": "tests.contract.fuzzing.callers",
        "FUZZED_ROLE": caller.role,
        "FUZZED_EMAIL": caller.email,
        "FUZZED_ACCOUNT_ID": str(caller.id),
        "FUZZED_KEEPER_EMAIL": keeper.email,
        "FUZZED_PASSWORD": PASSWORD,
    }


def fuzz(api: str, *, folder: Path, world: World, environment: dict[str, str], max_examples: int) -> Fuzzed:
    """Run schemathesis against an API, in all its phases."""
    config, report = folder / "schemathesis.toml", folder / "report.json"
    config.write_text(CONFIG.read_text() + _dictionaries(world))
    done = subprocess.run(
        launcher(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--config-file", config),
                *("run", f"{api}/api/v1/openapi.json", "--no-color"),
                *("--checks", "all", "--exclude-checks", CHECK_LEFT_OUT),
                *("--max-examples", str(max_examples), "--report", "json", "--report-json-path", report),
            ],
            death_signal=signal.SIGKILL,
        ),
        cwd=folder,
        # Hypothesis keeps its tables of Unicode here: computing them takes seconds.
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "FUZZED_API": api, "HYPOTHESIS_STORAGE_DIRECTORY": str(ROOT / ".hypothesis")}
        | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    # It is there from the beginning, and empty until the end.
    summary = json.loads(report.read_text() or "{}")
    return Fuzzed(done.stdout, done.returncode, summary)


def _dictionaries(world: World) -> str:
    """The part of the configuration that has requests name things that are there."""
    kinds = {"events": world.events, "bookings": world.bookings, "users": world.users}
    kinds |= {"types": world.types, "pools": world.pools, "codes": world.codes}
    kinds["either"] = [*world.events, *world.bookings]
    lines = [f"[dictionaries.{name}]\nvalues = {json.dumps(ids)}" for name, ids in kinds.items()]
    lines.append("[parameters]")
    lines += [
        f'"{place}" = {{ dictionary = "{name}", probability = 0.7 }}'
        for place, name in {
            "path.event_id": "events",
            "path.booking_id": "bookings",
            "path.user_id": "users",
            "path.type_id": "types",
            "path.pool_id": "pools",
            "path.code_id": "codes",
            "path.id": "either",
            "body.event_id": "events",
        }.items()
    ]
    return "\n" + "\n".join(lines) + "\n"
