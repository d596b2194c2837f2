"""Follow-ups: the consequences of a change of an account.

The ended tokens are written to Redis, an organizer's events are suspended or resumed, and a closed account's bookings
are cancelled. PostgreSQL stores the follow-up together with the change. The request that made the change does what it
can at once. A worker then does all of it again, so that nothing is lost when the request is interrupted.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from domain.accounts.accounts import AccountStatus
from domain.kernel.bookings import HOLDING
from domain.kernel.refusals import CapacityBelowSold, EventNotFound, EventStarted, Unavailable
from domain.platform.concurrency import together
from domain.sales.events import Deadline

if TYPE_CHECKING:
    from uuid import UUID

    from domain.accounts.accounts import Account
    from domain.engine import Stores
    from domain.kernel.bookings import Booking
    from domain.store.postgres.accounts.accounts import FollowUp

log = structlog.get_logger()

PAGE_SIZE = 100
"""Events or bookings of one account that are processed between two reads."""

PAGES_MAX = 20
"""Pages of one call; the next call continues with the rest."""

AT_ONCE_MAX = 4
"""Events or bookings processed at the same time, each on its own connection: half of a process' connections."""

AGAIN_AFTER = timedelta(seconds=5)
"""The delay before an unfinished account is processed again."""

CLOSED_FOR = timedelta(seconds=60)
"""How long a closed account is processed again: a request that was admitted before may still book."""

ACCOUNTS_MAX = 50
"""Changed accounts whose follow-ups one call runs."""

SESSIONS_MAX = 1_000
"""Ended sessions of one account that are written to Redis."""


class FollowUps:
    """Safe to run at any time and repeatedly, and to be killed at any point."""

    def __init__(self, stores: Stores) -> None:
        self._accounts = stores.accounts
        self._sessions = stores.sessions
        self._admission = stores.admission
        self._box_office = stores.box_office
        self._event_actions = stores.event_actions

    async def begin(self, account: Account) -> None:
        """Do at once as much as possible of an account's follow-up; a worker does the rest."""
        try:
            await self.events(account.id)
            if account.status is AccountStatus.CLOSED:
                await self._bookings(account.id)
        except Unavailable as error:
            log.warning("follow_up_put_off", account_id=str(account.id), cause=str(error))

    async def events(self, organizer_id: UUID) -> bool:
        """Suspend an account's events if it may not sell, otherwise end their suspension.

        Returns False when some events are left for another call.

        Raises:
            Unavailable: the changes made until then stay.
        """
        last, complete = None, True
        for _ in range(PAGES_MAX):
            page = await self._event_actions.behind_organizer(organizer_id, after=last, limit=PAGE_SIZE)
            if not page:
                return complete
            done = await together(self._follow_organizer, page, at_once_max=AT_ONCE_MAX)
            last, complete = page[-1], complete and all(done)
        return False

    async def run_due_once(self, *, limit: int = ACCOUNTS_MAX) -> int:
        """Run the follow-ups of accounts that changed; returns the number of accounts.

        An account whose follow-up cannot be finished now is left to a later call, and does not delay the others. The
        same holds for an account whose follow-up fails unexpectedly.

        Raises:
            Unavailable: PostgreSQL cannot be asked for the accounts.
        """
        due = await self._accounts.due_follow_ups(limit=limit)
        for each in due:
            try:
                await self._accounts.followed_up(each, again_after=await self._run(each))
            except Unavailable as error:
                log.warning("follow_up_put_off", account_id=str(each.account.id), cause=str(error))
            except Exception:
                log.exception("follow_up_failed", account_id=str(each.account.id))
                await self._accounts.followed_up(each, again_after=AGAIN_AFTER)
        return len(due)

    async def _run(self, due: FollowUp) -> timedelta | None:
        """Run the whole follow-up of one account; returns when to run it again, None for never."""
        account = due.account
        ended = await self._sessions.ended_of(account.id, limit=SESSIONS_MAX)
        await self._admission.tokens_ended(account)
        await self._admission.sessions_ended(account.id, ended)
        complete = await self.events(account.id)
        if account.status is AccountStatus.CLOSED:
            complete = await self._bookings(account.id) and complete
            if complete and due.age < CLOSED_FOR:
                return CLOSED_FOR
        return None if complete else AGAIN_AFTER

    async def _follow_organizer(self, event_id: UUID) -> bool:
        try:
            await self._event_actions.follow_organizer(event_id)
        except EventNotFound:
            return True
        except CapacityBelowSold as refusal:
            # The event sells nothing until reconciliation has repaired it.
            log.exception("capacity_below_sold", event_id=str(event_id), **refusal.facts)
            return False
        return True

    async def _bookings(self, account_id: UUID) -> bool:
        """Cancel an account's bookings of events that have not begun; False when some are left for another call."""
        last = None
        for _ in range(PAGES_MAX):
            page = await self._box_office.held_by(account_id, after=last, limit=PAGE_SIZE)
            if not page:
                return True
            await together(self._cancel, page, at_once_max=AT_ONCE_MAX)
            last = page[-1].id
        return False

    async def _cancel(self, booking: Booking) -> None:
        if booking.status not in HOLDING:
            return
        try:
            await self._box_office.cancel(booking, deadline=Deadline.BEGIN)
        except EventStarted:
            # A booking of an event that has begun is a record of the past and is kept.
            return
