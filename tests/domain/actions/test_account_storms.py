"""P22: whatever ends an account, a role or a session beats every request of it that runs beside.

Each pair of a request and an ending runs in rounds at once, through two processes, on accounts of their own.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from argon2 import PasswordHasher
from sqlalchemy import text

from domain.accounts.accounts import AccountStatus, Role
from domain.accounts.passwords import Passwords
from domain.accounts.signing_keys import Keys
from domain.accounts.tokens import TokenKind, Tokens
from domain.actions.membership import Membership
from domain.background.follow_ups import FollowUps
from domain.background.rebuilding import rebuild
from domain.kernel.event_status import EventStatus
from domain.kernel.refusals import Refusal, Unauthenticated, Unavailable
from domain.sales.events import EventChanges
from domain.store.postgres.accounts.sessions import Sessions
from domain.store.redis.admission import Ask
from tests.factories import new_event

if TYPE_CHECKING:
    from domain.accounts.accounts import Account
    from domain.accounts.tokens import Token
    from domain.actions.membership import LoggedIn
    from domain.engine import Stores
    from domain.sales.events import Event

ROUNDS = 30
AT_ONCE = 3
"""Rounds that run beside each other."""

REPEATED = 2
"""How often each process asks in a round."""

PASSWORD = "the password of before"
NEW_PASSWORD = "the password of after"


@dataclass
class Engine:
    """A process, as far as accounts go."""

    stores: Stores
    membership: Membership
    tokens: Tokens

    def read(self, logged_in: LoggedIn) -> Token:
        return self.tokens.read(logged_in.access_token, TokenKind.ACCESS, now_s=datetime.now(UTC).timestamp())


@dataclass
class Subject:
    """Somebody with two sessions and an event on sale, an admin who has an eye on it, and a victim of its own."""

    account: Account
    here: LoggedIn
    there: LoggedIn
    admin: LoggedIn
    victim: Account
    selling: Event | None = None
    paused: Event | None = None
    handed_out: list[LoggedIn] = field(default_factory=list)


@asynccontextmanager
async def engine(stores, settings):
    passwords = Passwords()
    # As cheap as it gets: it is not the hashes that are tested.
    passwords._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    passwords._nobodys_hash = passwords._hasher.hash("nobody's")
    tokens = Tokens(Keys.of(settings), {TokenKind.ACCESS: 1800, TokenKind.REFRESH: 604_800})
    follow_ups = FollowUps(stores.accounts, stores.sessions, stores.admission, stores.box_office)
    membership = Membership(
        accounts=stores.accounts,
        sessions=stores.sessions,
        admission=stores.admission,
        follow_ups=follow_ups,
        hashing=passwords,
        tokens=tokens,
    )
    yield Engine(stores, membership, tokens)
    passwords.close()


@pytest.fixture
async def engines(stores, other_stores, settings):
    async with engine(stores, settings) as first, engine(other_stores, settings) as second:
        yield first, second


async def make_subject(first, *, role, act):
    """`role` is what the subject calls as, `act` what it is going to do."""
    at = first.membership
    password_hash = await at._passwords.hash(PASSWORD)

    async def one(role):
        return await first.stores.accounts.create(
            email=f"{uuid4().hex}@example.org", password_hash=password_hash, role=role, now=datetime.now(UTC)
        )

    async def session(account):
        return await at.log_in(email=account.email, password=PASSWORD)

    account, admin, victim = await asyncio.gather(one(role), one(Role.ADMIN), one(Role.ATTENDEE))
    subject = Subject(account, *await asyncio.gather(session(account), session(account), session(admin)), victim)
    caller = first.read(subject.there).caller
    subject.selling = await first.stores.box_office.create_event(new_event(), caller=caller)
    if act is sell_again:
        made = await first.stores.box_office.create_event(new_event(), caller=caller)
        subject.paused = await first.stores.box_office.change_event(
            made.id, EventChanges(paused=True), caller=caller, expected_version=None
        )
    return subject


async def change_email(at, token, _subject):
    await at.membership.change(token, current_password=PASSWORD, email=f"{uuid4().hex}@example.com")


async def change_password(at, token, _subject):
    await at.membership.change(token, current_password=PASSWORD, password=f"{uuid4().hex}")


async def switch_role(at, token, subject):
    subject.handed_out.append(await at.membership.switch_role(token, Role.ATTENDEE))


async def keep_role(at, token, subject):
    subject.handed_out.append(await at.membership.switch_role(token, Role.ORGANIZER))


async def leave(at, token, _subject):
    await at.membership.leave(token, current_password=PASSWORD)


async def log_in(at, _token, subject):
    subject.handed_out.append(await at.membership.log_in(email=subject.account.email, password=PASSWORD))


async def refresh(at, _token, subject):
    refresh_token = at.tokens.read(subject.here.refresh_token, TokenKind.REFRESH, now_s=datetime.now(UTC).timestamp())
    subject.handed_out.append(await at.membership.refresh(refresh_token, subject.here.refresh_token))


async def create_event(at, token, _subject):
    await at.stores.box_office.create_event(new_event(), caller=token.caller)


async def sell_again(at, token, subject):
    await at.stores.box_office.change_event(
        subject.paused.id, EventChanges(paused=False), caller=token.caller, expected_version=None
    )


async def cancel_event(at, token, subject):
    await at.stores.box_office.cancel_event(subject.selling.id, caller=token.caller)


async def ban_somebody(at, token, subject):
    await at.membership.ban(subject.victim.id, caller=token.caller)


async def promote_somebody(at, token, subject):
    await at.membership.assign_role(subject.victim.id, Role.ADMIN, caller=token.caller)


async def free_somebody(at, token, subject):
    await at.membership.unban(subject.victim.id, caller=token.caller)


ACTIONS = {
    Role.ORGANIZER: [
        change_email,
        change_password,
        switch_role,
        keep_role,
        leave,
        log_in,
        refresh,
        create_event,
        sell_again,
        cancel_event,
    ],
    Role.ADMIN: [ban_somebody, promote_somebody, free_somebody, create_event],
}


async def ban(at, subject):
    await at.membership.ban(subject.account.id, caller=at.read(subject.admin).caller)


async def demote(at, subject):
    await at.membership.assign_role(subject.account.id, Role.ATTENDEE, caller=at.read(subject.admin).caller)


async def close(at, subject):
    await at.membership.leave(at.read(subject.there), current_password=PASSWORD)


async def renew_password(at, subject):
    await at.membership.change(at.read(subject.there), current_password=PASSWORD, password=NEW_PASSWORD)


ENDINGS = [ban, demote, close, renew_password]


@pytest.mark.parametrize("end", ENDINGS, ids=lambda end: end.__name__)
@pytest.mark.parametrize(
    ("role", "act"),
    [(role, act) for role, acts in ACTIONS.items() for act in acts],
    ids=lambda part: getattr(part, "__name__", str(part)),
)
async def test_an_ending_beats_every_request_that_runs_beside_it(engines, role, act, end):
    survivors = []
    for _ in range(0, ROUNDS, AT_ONCE):
        rounds = await asyncio.gather(*(one_round(engines, role, act, end) for _ in range(AT_ONCE)))
        survivors += [survivor for found in rounds for survivor in found]

    assert survivors == []


async def one_round(engines, role, act, end):
    """Act and end at once; answers what lives on that should not."""
    first, second = engines
    subject = await make_subject(first, role=role, act=act)
    token = first.read(subject.here)

    async def try_to_act(at):
        with suppress(Refusal):
            await act(at, token, subject)

    async def ending():
        while True:
            try:
                return await end(second, subject)
            except Unavailable:
                # The account is changing all the time.
                continue
            except Refusal as refusal:
                return refusal

    asking = [try_to_act(at) for at in (first, second) for _ in range(REPEATED)]
    *_, refused = await asyncio.gather(*asking, ending())
    if refused is None:
        return await lives_on(second, subject, end=end, kept=subject.there)
    if act.__name__ not in ENDED_BY:
        return [f"{end.__name__} was refused: {refused.code}"]
    # The request was first, and ended itself what it ends.
    return await lives_on(first, subject, end=ENDED_BY[act.__name__], kept=subject.here)


ENDED_BY = {"leave": close, "switch_role": demote, "change_password": change_password}
"""What some requests end themselves, so that the ending comes with a dead token or a wrong password."""


async def lives_on(at, subject, *, end, kept):
    """What the ending left; `kept` is the session that may go on after a new password."""
    account = await at.stores.accounts.find(subject.account.id)
    ended = account.status is not AccountStatus.ACTIVE
    found = await accepted(at, subject, account, kept=kept if end in {renew_password, change_password} else None)
    if ended or account.role is Role.ATTENDEE:
        found += await on_sale(at, account)
    if account.status is AccountStatus.CLOSED and (account.password_hash or subject.account.email == account.email):
        found.append("personal data")
    if end is renew_password and not await at.membership._passwords.verify(NEW_PASSWORD, account.password_hash):
        found += [] if ended else ["another password"]
    if end in {ban, close} and not ended:
        found.append("the account")
    return found + await late_acts(at, account)


async def accepted(at, subject, account, *, kept):
    """Tokens that still work and should not; and sessions that would be refreshed."""
    found = []
    for handed_out in [subject.here, subject.there, *subject.handed_out]:
        token = at.read(handed_out)
        try:
            await at.stores.admission.admit(token, Ask(None))
        except Refusal:
            continue
        as_it_is = token.epoch == account.token_epoch and token.role is account.role
        ended = account.status is not AccountStatus.ACTIVE
        other = kept is not None and token.session_id != at.read(kept).session_id
        if ended or other or not as_it_is:
            found.append(f"a token of {token.role} that works for a {account.status} {account.role}")
    if account.status is not AccountStatus.ACTIVE:
        async with at.stores.engine.connect() as connection:
            live = text("SELECT count(*) FROM sessions WHERE account_id = :id AND revoked_at IS NULL")
            if (await connection.execute(live, {"id": account.id})).scalar_one():
                found.append("a session")
    return found


async def on_sale(at, account):
    page = await at.stores.events.page(limit=100, organizer_id=account.id)
    shown = await at.stores.box_office.on_show(page.events)
    return [f"{event.id} is on sale" for event, _, status in shown if status is EventStatus.ON_SALE]


async def late_acts(at, account):
    """What stands in the audit log as done by the account after its ban, demotion or closing."""
    statement = text(
        """
        SELECT late.action FROM audit_log AS ended JOIN audit_log AS late ON late.id > ended.id
        WHERE ended.target_id = :id AND late.actor_id = :id
        AND (ended.action IN ('account.banned', 'account.closed') OR ended.detail @> '{"to": "attendee"}')
        """
    )
    async with at.stores.engine.connect() as connection:
        return [f"late: {action}" for (action,) in await connection.execute(statement, {"id": account.id})]


async def test_a_session_that_ended_before_it_was_handed_out_does_not_live_in_a_wiped_redis(engines):
    at, _ = engines
    stores = at.stores

    class Overtaken(Sessions):
        """Ends each session that it opens, and has Redis forget that, before its caller knows of the session."""

        async def open(self, account, *, session, **options):
            ended = await super().open(account, session=session, **options)
            await self.end(session.id, now=datetime.now(UTC))
            await stores.admission.sessions_ended(account.id, [session.id])
            await stores.pipeline.redis.flushall()
            await rebuild(stores)
            return ended

    at.membership._sessions = Overtaken(stores.engine)
    account = await at.membership.sign_up(email="somebody@example.org", password=PASSWORD, role=Role.ATTENDEE)
    token = at.read(await at.membership.log_in(email=account.email, password=PASSWORD))

    with pytest.raises(Unauthenticated):
        await stores.admission.admit(token, Ask(None))
