"""The objects of one API process: the stores, and the services that use them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from api.http.addresses import Proxies
from api.http.downloads import Downloads
from api.reads.availability import Offers
from api.reads.events import Showing
from domain.accounts.passwords import Passwords
from domain.accounts.signing_keys import Keys
from domain.accounts.tokens import TokenKind, Tokens
from domain.actions.membership import Membership
from domain.actions.promo_guesses import PromoGuesses
from domain.background.follow_ups import FollowUps
from domain.engine import Stores, open_stores
from domain.platform.clocks import HostClock
from domain.platform.settings import Settings
from domain.store.postgres.reports.administration import AdminReports
from domain.store.postgres.reports.dashboards import Dashboards
from domain.store.postgres.reports.guests import GuestLists
from domain.store.redis.admission import Rule

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from litestar.connection import ASGIConnection

STATE = "process"
"""Its name in the application's state."""

FAIL_CLOSED = (
    "login",
    "login_address",
    "refresh",
    "signup",
    "booking_create",
    "booking_cancel",
    "booking_change",
    "event_create",
    "event_delete",
    "event_update",
    "catalogue_update",
    "promo_code",
    "payment_confirm",
    "webhook_refused",
    "admin_write",
)
"""Limits of requests that write, or that guess a password or a code: without Redis they are refused."""

FAIL_OPEN = ("admin_read", "default")
"""Limits of requests that read: without Redis they are not counted."""


class Process(Struct, frozen=True):
    """The objects of an API process. `rules` is None while limits are off."""

    settings: Settings
    stores: Stores
    guest_lists: GuestLists
    dashboards: Dashboards
    admin_reports: AdminReports
    tokens: Tokens
    membership: Membership
    showing: Showing
    offers: Offers
    promo_guesses: PromoGuesses
    downloads: Downloads
    rules: dict[str, Rule] | None
    proxies: Proxies
    clock: HostClock

    def rule(self, name: str) -> Rule | None:
        """The rule of this name, None while limits are off."""
        return self.rules[name] if self.rules else None


def rules_of(settings: Settings) -> dict[str, Rule]:
    """The rules of the limits, by the names that routes declare."""
    rules = [Rule.of(name, getattr(settings, f"limit_{name}"), fails_open=False) for name in FAIL_CLOSED]
    rules += [Rule.of(name, getattr(settings, f"limit_{name}"), fails_open=True) for name in FAIL_OPEN]
    return {rule.name: rule for rule in rules}


@asynccontextmanager
async def open_process(settings: Settings) -> AsyncIterator[Process]:
    """Open what a process needs, and close it at the end of the block."""
    passwords = Passwords()
    try:
        async with open_stores(settings) as stores:
            # A host whose clock is behind must not refuse tokens that other hosts issue.
            await stores.clocks.compare_once()
            tokens, rules = _tokens(settings), rules_of(settings) if settings.rate_limits == "on" else None
            offers = Offers(stores.availability)
            yield Process(
                settings=settings,
                stores=stores,
                guest_lists=GuestLists(stores.database),
                dashboards=Dashboards(stores.database),
                admin_reports=AdminReports(stores.database),
                tokens=tokens,
                membership=Membership(
                    accounts=stores.accounts,
                    sessions=stores.sessions,
                    admission=stores.admission,
                    follow_ups=FollowUps(stores),
                    hashing=passwords,
                    tokens=tokens,
                ),
                showing=Showing(stores.event_actions, stores.events),
                offers=offers,
                downloads=Downloads(),
                rules=rules,
                promo_guesses=PromoGuesses(stores.admission, rules["promo_code"] if rules else None),
                proxies=Proxies.of(settings),
                clock=stores.clocks.host,
            )
            await offers.end()
    finally:
        passwords.close()


def process(connection: ASGIConnection[Any, Any, Any, Any]) -> Process:
    """The process that serves this request."""
    found: Process = connection.scope["litestar_app"].state[STATE]
    return found


def _tokens(settings: Settings) -> Tokens:
    lifetimes = {TokenKind.ACCESS: settings.access_token_seconds, TokenKind.REFRESH: settings.refresh_token_seconds}
    return Tokens(Keys.of(settings), lifetimes, refresh_grace_s=settings.refresh_grace_seconds)
