"""P22: the end of an account, a role or a session wins over every request of the account that runs at the same time.

Each pair of a request and an ending runs 30 times, through two processes, each time on an account of its own.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

import pytest
from sqlalchemy import select, text

from domain.accounts import passwords
from domain.accounts.accounts import AccountStatus, Role
from domain.accounts.tokens import TokenKind
from domain.background.rebuilding import rebuild
from domain.kernel.event_status import EventStatus
from domain.kernel.refusals import Refusal, Unauthenticated, Unavailable
from domain.sales.events import EventChanges
from domain.store.postgres.accounts.holding import ACCOUNT_FIELDS, read_account
from domain.store.postgres.accounts.sessions import Sessions
from domain.store.postgres.tables import accounts, events, sessions
from domain.store.redis.admission import Ask
from tests.domain.actions.account_subjects import PASSWORD, engine, make_subjects
from tests.factories import new_event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from domain.actions.membership import LoggedIn
    from tests.domain.actions.account_subjects import Engine, Subject

ROUNDS = 30

AT_ONCE = 3
"""Rounds that run beside each other."""

REPEATED = 2
"""How often each process asks in a round."""

NEW_PASSWORD = "the password of after"


@pytest.fixture
async def engines(stores, other_stores, settings, monkeypatch):
    # Hashes are as cheap as they can be: they are not what is tested.
    monkeypatch.setattr(passwords, "MEMORY_KIB", 8)
    monkeypatch.setattr(passwords, "PASSES", 1)
    async with engine(stores, settings) as first, engine(other_stores, settings) as second:
        yield first, second


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
    await at.stores.event_actions.create(new_event(), caller=token.caller)


async def sell_again(at, token, subject):
    await at.stores.event_actions.change(
        subject.paused.id, EventChanges(paused=False), caller=token.caller, expected_version=None
    )


async def cancel_event(at, token, subject):
    await at.stores.event_actions.cancel(subject.selling.id, caller=token.caller)


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


async def set_password(at, subject):
    after = await at.stores.accounts.set_password(
        subject.account.id, password_hash=await at.membership._passwords.hash(NEW_PASSWORD), now=datetime.now(UTC)
    )
    await at.stores.admission.tokens_ended(after)


async def log_out(at, subject):
    await at.membership.log_out(at.read(subject.here))


ENDINGS = [ban, demote, close, renew_password, set_password, log_out]


@pytest.mark.parametrize("end", ENDINGS, ids=lambda end: end.__name__)
@pytest.mark.parametrize(
    ("role", "act"),
    [(role, act) for role, acts in ACTIONS.items() for act in acts],
    ids=lambda part: getattr(part, "__name__", str(part)),
)
async def test_an_ending_beats_every_request_that_runs_beside_it(engines, role, act, end):
    subjects = await make_subjects(engines[0], ROUNDS, role=role, paused=act is sell_again)
    ended, survivors = [], []

    for number in range(0, ROUNDS, AT_ONCE):
        together = subjects[number : number + AT_ONCE]
        for found in await asyncio.gather(*(one_round(engines, subject, act, end) for subject in together)):
            (ended if isinstance(found, Ended) else survivors).append(found)

    assert survivors == []
    assert await lives_on(ended) == []
    assert len(ended) == ROUNDS


async def one_round(engines, subject, act, end):
    """Act and end at once; returns what ended the subject, or why nothing did."""
    first, second = engines
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
        return Ended(subject, second, end, subject.there)
    if act.__name__ not in ENDED_BY:
        return f"{end.__name__} was refused: {refused.code}"
    # The request was first, and ended itself what it ends.
    return Ended(subject, first, ENDED_BY[act.__name__], subject.here)


class Ended(NamedTuple):
    """The end of a round: `kept` is the session that may go on after a new password."""

    subject: Subject
    at: Engine
    end: Callable[..., Awaitable[None]]
    kept: LoggedIn


ENDED_BY = {"leave": close, "switch_role": demote, "change_password": change_password}
"""What some requests end themselves, so that the ending comes with a dead token or a wrong password."""


async def lives_on(ended):
    """What the endings left, of all rounds: a statement for each kind of thing, not for each subject."""
    stores = ended[0].at.stores
    ids = [each.subject.account.id for each in ended]
    async with stores.database.connect() as connection:
        found = await connection.execute(select(*ACCOUNT_FIELDS).where(accounts.c.id.in_(ids)))
        as_they_are = {account.id: account for account in map(read_account, found)}
        live = select(sessions.c.account_id).where(sessions.c.account_id.in_(ids), sessions.c.revoked_at.is_(None))
        with_session = set((await connection.execute(live)).scalars())
    selling = await on_sale(stores, ids)
    survivors = await late_acts(stores, ids)
    for each in ended:
        account = as_they_are[each.subject.account.id]
        survivors += await of_the_account(each, account)
        if account.status is not AccountStatus.ACTIVE and account.id in with_session:
            survivors.append("a session")
        if account.id in selling and (account.status is not AccountStatus.ACTIVE or account.role is Role.ATTENDEE):
            survivors.append("an event on sale")
    return survivors


async def of_the_account(ended, account):
    """What is left in the account's row, and its tokens that work."""
    active, end = account.status is AccountStatus.ACTIVE, ended.end
    found = await accepted(ended, account)
    if account.status is AccountStatus.CLOSED and (
        account.password_hash or ended.subject.account.email == account.email
    ):
        found.append("personal data")
    if end in {renew_password, set_password} and active and not await has_password(ended.at, account, NEW_PASSWORD):
        found.append("another password")
    if end in {ban, close} and active:
        found.append("the account")
    return found


async def has_password(at, account, password):
    return await at.membership._passwords.verify(password, account.password_hash)


async def accepted(ended, account):
    """Tokens that still work and should not."""
    at, subject = ended.at, ended.subject
    kept = at.read(ended.kept).session_id if ended.end in {renew_password, change_password} else None
    gone = at.read(subject.here).session_id if ended.end is log_out else None
    found = []
    for handed_out in [subject.here, subject.there, *subject.handed_out]:
        token = at.read(handed_out)
        try:
            await at.stores.admission.admit(Ask.by(token))
        except Refusal:
            continue
        as_it_is = token.epoch == account.token_epoch and token.role is account.role
        other = token.session_id == gone or (kept is not None and token.session_id != kept)
        if account.status is not AccountStatus.ACTIVE or other or not as_it_is:
            found.append(f"a token of {token.role} that works for a {account.status} {account.role}")
    return found


async def on_sale(stores, organizer_ids):
    """Those of these organizers that have an event on sale."""
    async with stores.database.connect() as connection:
        statement = select(events.c.id).where(events.c.organizer_id.in_(organizer_ids))
        ids = list((await connection.execute(statement)).scalars())
    shown = await stores.event_actions.on_show(list((await stores.events.find_all(ids)).values()))
    return {event.organizer_id for event, _, status in shown if status is EventStatus.ON_SALE}


async def late_acts(stores, ids):
    """What stands in the audit log as done by an account after its ban, demotion or closing."""
    statement = text(
        """
        SELECT late.action FROM audit_log AS ended JOIN audit_log AS late ON late.id > ended.id
        WHERE ended.target_id = ANY(:ids) AND late.actor_id = ended.target_id
        AND (ended.action IN ('account.banned', 'account.closed', 'account.password_set')
            OR ended.detail @> '{"to": "attendee"}')
        """
    )
    async with stores.database.connect() as connection:
        return [f"late: {action}" for (action,) in await connection.execute(statement, {"ids": ids})]


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

    at.membership._sessions = Overtaken(stores.database)
    account = await at.membership.sign_up(email="somebody@example.org", password=PASSWORD, role=Role.ATTENDEE)
    token = at.read(await at.membership.log_in(email=account.email, password=PASSWORD))

    with pytest.raises(Unauthenticated):
        await stores.admission.admit(Ask.by(token))
