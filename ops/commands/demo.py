"""Demo data: a few accounts and events, made once and reused by later runs."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from domain.accounts.accounts import Caller, Role
from domain.accounts.passwords import Passwords
from domain.background.rebuilding import ensure_in_order
from domain.sales.events import NewEvent, Payment
from domain.sales.ticket_types import NewPromoCodes, NewTicketType, code_key
from ops.commands.accounts import set_password
from ops.commands.demo_credentials import DEMO_FILE, ROLES, demo_is_complete, demo_passwords, set_demo_complete

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from domain.accounts.accounts import Account
    from domain.engine import Stores

CHANGED = "(changed since; `onsale set-password` sets another one)"

EVENTS_LOOKED_AT_MAX = 100
"""Events read to find those of the demo; its organizer has far fewer."""


class DemoRefused(Exception):
    """The demo data cannot be completed; `str()` says why."""


@dataclass(frozen=True)
class DemoPool:
    """A pool of a demo event, in the pool named `within`."""

    name: str
    size: int
    within: str | None = None


@dataclass(frozen=True)
class DemoType:
    """A ticket type of a demo event, of the pool named `pool`; `fields` are further ones of `NewTicketType`."""

    name: str
    price_minor: int
    pool: str | None = None
    needs: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DemoEvent:
    """A demo event; its times are in days from now. Pools, ticket types and codes name those before them."""

    title: str
    location: str
    description: str
    starts_in_days: int
    capacity: int
    max_per_user: int = 8
    sale_in_days: int | None = None
    time_zone: str = "UTC"
    pools: tuple[DemoPool, ...] = ()
    types: tuple[DemoType, ...] = ()
    codes: tuple[NewPromoCodes, ...] = ()


DEMO_EVENTS = (
    DemoEvent(
        "Winter Gala at the Old Power Station",
        "Turbine Hall, Riverside 1",
        "One night, one stage, 650 tickets.",
        starts_in_days=30,
        capacity=650,
    ),
    DemoEvent("Chamber Music by Candlelight", "St. Anne's Church", "Two cellos and a piano.", 14, 120, max_per_user=4),
    DemoEvent(
        "Improv Night in the Cellar", "The Cellar, Mill Lane 7", "Forty chairs, no script.", 7, 40, max_per_user=2
    ),
    DemoEvent("Repair Your Synthesizer", "Makers' Yard, Workshop 3", "Bring one, take it home working.", 21, 12, 1),
    DemoEvent("Open-Air Cinema", "Castle Meadow", "Tickets from the day after tomorrow.", 60, 2_000, sale_in_days=2),
    DemoEvent(
        "The Paper Lantern: a Play for Families",
        "Harbour Theatre, Hamburg",
        "Stalls and balcony, family tickets for four, and ten minutes to pay. The code FRIENDS takes 10 % off.",
        starts_in_days=45,
        capacity=320,
        time_zone="Europe/Berlin",
        pools=(DemoPool("Stalls", 240), DemoPool("Balcony", 80)),
        types=(
            DemoType("Adult", 2_800, "Stalls"),
            DemoType("Child", 1_400, "Stalls"),
            DemoType("Family of four", 7_000, "Stalls", fields={"weight": 4}),
            DemoType("Balcony", 2_000, "Balcony"),
        ),
        codes=(NewPromoCodes(code="FRIENDS", percent_off=10, max_uses=50, max_uses_per_user=1),),
    ),
    DemoEvent(
        "Meadow Festival",
        "Lakeside Meadow",
        "Three days outside. A van needs an admission. The code CREW shows a free ticket for helpers.",
        starts_in_days=90,
        capacity=3_250,
        pools=(
            DemoPool("General admission", 3_000),
            DemoPool("Helpers", 150),
            DemoPool("Parking", 195),
            DemoPool("Shirts", 400),
        ),
        types=(
            DemoType("Early bird", 9_900, "General admission", fields={"max_per_user": 2}),
            DemoType("Weekend", 12_900, "General admission"),
            DemoType("Helper", 0, "Helpers", fields={"hidden": True}),
            DemoType("Van", 4_500, "Parking", "Weekend", {"takes_room": False, "counts_for_max_per_user": False}),
            DemoType("Shirt", 2_500, "Shirts", None, {"takes_room": False, "counts_for_max_per_user": False}),
        ),
        codes=(NewPromoCodes(code="CREW", unlocks_hidden=True, max_uses=100),),
    ),
)
"""The events on sale; the printed example books the first."""


@dataclass(frozen=True)
class Demo:
    """The demo's accounts with their passwords, None for one that was changed since, and the event to book."""

    passwords: dict[str, str | None]
    event_id: UUID


async def make_demo(stores: Stores, data_dir: Path, *, payment: Payment = Payment.EXTERNAL) -> Demo:
    """Make the missing demo data and return the demo. Events with prices are paid by `payment`.

    If the file of the passwords was lost, the accounts get new ones, and their sessions end.

    Raises:
        DemoRefused: the organizer was banned or has another role now.
        Unavailable, SessionsUntold: PostgreSQL or Redis does not answer; the next run continues.
        TimeoutError: the inventory was not rebuilt within INVENTORY_DEADLINE_SECONDS.
    """
    path = data_dir / DEMO_FILE
    passwords, complete = demo_passwords(path), demo_is_complete(path)
    await ensure_in_order(stores)
    accounts, changed = await _accounts(stores, passwords, renew=not complete)
    event_ids = await _events(stores, accounts[[*ROLES.values()].index(Role.ORGANIZER)], payment)
    set_demo_complete(path)
    known = {email: None if email in changed else password for email, password in passwords.items()}
    return Demo(known, event_ids[0])


def describe(demo: Demo, *, base_url: str) -> str:
    """Return the accounts, and a command line that logs in and books."""
    attendees = [email for email, role in ROLES.items() if role == "attendee"]
    attendee = next((email for email in attendees if demo.passwords[email]), attendees[0])
    login = f'{{"email":"{attendee}","password":"{demo.passwords[attendee] or "YOUR_PASSWORD"}"}}'
    accounts = [f"  {ROLES[email]:<10} {email:<24} {password or CHANGED}" for email, password in demo.passwords.items()]
    booking = f'{{"event_id":"{demo.event_id}","quantity":2}}'
    json_body = "-H 'Content-Type: application/json' -d"
    pick = """sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/'"""
    get_token = f"TOKEN=$(curl -s {base_url}/auth/login {json_body} '{login}' | {pick})"
    book = (
        f"""curl -i {base_url}/bookings -H "Authorization: Bearer $TOKEN" -H 'Prefer: wait=5' {json_body} '{booking}'"""
    )
    return "\n".join(
        ["Demo accounts (role, e-mail, password):", *accounts, "To book two tickets:", f"  {get_token}; {book}"]
    )


async def _accounts(stores: Stores, passwords: dict[str, str], *, renew: bool) -> tuple[list[Account], set[str]]:
    """The demo's accounts, and the addresses of those with another password; with `renew`, they get the given one."""
    with closing(Passwords()) as hasher:
        accounts = [await _account(stores, hasher, email, password) for email, password in passwords.items()]
        changed = {
            account.email
            for account in accounts
            if not await hasher.verify(passwords[account.email], account.password_hash)
        }
    for email in changed if renew else ():
        await set_password(stores, email=email, password=passwords[email])
    return accounts, set() if renew else changed


def _operator_as(account: Account) -> Caller:
    """The operator as a caller, acting for the demo's organizer without a token."""
    return Caller(account_id=account.id, session_id=None, token_epoch=account.token_epoch, role=account.role)


async def _account(stores: Stores, hasher: Passwords, email: str, password: str) -> Account:
    found = await stores.accounts.find_by_email(email)
    if found is not None:
        return found
    return await stores.accounts.create(
        email=email,
        password_hash=await hasher.hash(password),
        role=Role(ROLES[email]),
        now=datetime.now(UTC),
    )


async def _events(stores: Stores, organizer: Account, payment: Payment) -> list[UUID]:
    now = datetime.now(UTC)
    known = await stores.events.page(limit=EVENTS_LOOKED_AT_MAX, starting_after=now, organizer_id=organizer.id)
    ids = {event.title: event.id for event in known.events}
    for scene in DEMO_EVENTS:
        if scene.title not in ids:
            if not organizer.sells:
                standing = f"role {organizer.role}, {organizer.status}"
                message = f"events are missing, and {organizer.email} may not sell ({standing})"
                raise DemoRefused(message)
            new = _new_event(scene, now, payment)
            event = await stores.catalog.create(new, caller=_operator_as(organizer), now=now)
            ids[scene.title] = event.id
        if organizer.sells:
            await _furnish(stores, ids[scene.title], scene, caller=_operator_as(organizer))
    return [ids[scene.title] for scene in DEMO_EVENTS]


async def _furnish(stores: Stores, event_id: UUID, scene: DemoEvent, *, caller: Caller) -> None:
    """Add the pools, ticket types and codes that an event lacks."""
    if not scene.types:
        return
    catalogue = (await stores.selling.find(event_id)).full_catalogue
    pools = {pool.name: pool.id for pool in catalogue.pools}
    types = {each.name: each.id for each in catalogue.types}
    codes = {code_key(code.code) for code in catalogue.codes}
    for pool in scene.pools:
        if pool.name not in pools:
            within = pools[pool.within] if pool.within else None
            made = await stores.selling.add_pool(
                event_id, name=pool.name, size=pool.size, parent_id=within, caller=caller
            )
            pools[pool.name] = made[1].id
    for position, each in enumerate(scene.types):
        if each.name not in types:
            new = NewTicketType(
                name=each.name,
                price_minor=each.price_minor,
                pools=(pools[each.pool],) if each.pool else (),
                requires_type_id=types[each.needs] if each.needs else None,
                position=position,
                **each.fields,
            )
            types[each.name] = (await stores.selling.add_type(event_id, new, caller=caller)).id
    for code in scene.codes:
        if code_key(code.code or "") not in codes:
            await stores.selling.add_codes(event_id, code, caller=caller)
    if event_id in types.values():
        await stores.selling.archive_type(event_id, event_id, caller=caller, expected_version=None)


def _new_event(scene: DemoEvent, now: datetime, payment: Payment) -> NewEvent:
    evening = now.replace(hour=19, minute=0, second=0, microsecond=0)
    starts_at = evening + timedelta(days=scene.starts_in_days)
    return NewEvent(
        title=scene.title,
        location=scene.location,
        description=scene.description,
        starts_at=starts_at,
        ends_at=starts_at + timedelta(hours=3),
        capacity=scene.capacity,
        max_per_user=scene.max_per_user,
        sales_open_at=None if scene.sale_in_days is None else now + timedelta(days=scene.sale_in_days),
        time_zone=scene.time_zone,
        currency="EUR" if scene.types else None,
        payment=payment if scene.types else Payment.NONE,
    )
