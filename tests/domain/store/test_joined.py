"""Admission and what everybody asks for at once, in one call to Redis: run only for who is admitted."""

from __future__ import annotations

import signal
import subprocess
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from redis.exceptions import ResponseError

from domain.accounts.accounts import Session
from domain.accounts.tokens import Token, TokenKind
from domain.kernel.refusals import IdempotencyKeyReused, RateLimited, Unauthenticated, Unavailable
from domain.platform.settings import Limit
from domain.store.redis.admission import Ask, Rule
from domain.store.redis.pipeline import Pipeline
from domain.store.redis.scripts import Command
from ops.embedded.binaries import valkey_server
from ops.supervision.launcher import launcher
from ops.supervision.listener import listen
from tests.epochs import first_epoch
from tests.factories import make_account, make_event
from tests.waiting import eventually

OFTEN = Rule.of("bookings", Limit.parse("100/min"), fails_open=False)
ONCE = Rule.of("once", Limit.parse("1/min"), fails_open=False)


@pytest.fixture
async def token(stores):
    """Of a buyer who has just signed in."""
    account = await stores.accounts.find(await make_account(stores))
    now = datetime.now(UTC)
    session = Session(id=uuid4(), account_id=account.id, expires_at=now + timedelta(hours=1))
    await stores.sessions.open(account, session=session, refresh_hash=b"", password_hash=None, now=now)
    await stores.admission.session_opened(account, session, ended=[], opened_in=stores.scripts.epoch)
    return Token(
        kind=TokenKind.ACCESS,
        id=uuid4(),
        account_id=account.id,
        session_id=session.id,
        role=account.role,
        epoch=account.token_epoch,
        issued_s=int(now.timestamp()),
        expires_s=int(now.timestamp()) + 60,
    )


@pytest.fixture
async def event(stores):
    return await make_event(stores, capacity=5)


def _plan(stores, event, token, *, key="order-1"):
    return stores.box_office.plan(event_id=event.id, user_id=token.account_id, quantity=1, idempotency_key=key)


async def _taken(stores, event):
    return (await stores.inventory.taken([event.id]))[0]


async def _calls(stores):
    return (await stores.pipeline.redis.info("commandstats"))["cmdstat_evalsha"]["calls"]


async def test_an_admitted_booking_is_one_call(stores, event, token):
    plan = _plan(stores, event, token)
    before = await _calls(stores)

    admitted = await stores.admission.admit(token, Ask(OFTEN), then=plan.command)
    reservation = await stores.box_office.take(plan, admitted.after)

    assert await _calls(stores) - before == 1
    assert (reservation.booking.id, reservation.replayed) == (plan.new.id, False)
    assert await _taken(stores, event) == 1


async def test_an_admitted_look_is_one_call(stores, event, token):
    booking = (await stores.box_office.take(_plan(stores, event, token))).booking
    before = await _calls(stores)

    admitted = await stores.admission.admit(token, Ask(OFTEN), then=stores.box_office.looking(booking.id))

    assert await stores.box_office.booking(booking.id, admitted.after) == booking
    assert await _calls(stores) - before == 1


async def test_who_is_not_admitted_takes_nothing(stores, event, token):
    await stores.admission.admit(token, Ask(ONCE))
    with pytest.raises(RateLimited):
        await stores.admission.admit(token, Ask(ONCE), then=_plan(stores, event, token).command)

    await stores.admission.admit(token, Ask(OFTEN, key="order-2", body="one"))
    with pytest.raises(IdempotencyKeyReused):
        await stores.admission.admit(
            token, Ask(OFTEN, key="order-2", body="other"), then=_plan(stores, event, token).command
        )

    await stores.admission.sessions_ended(token.account_id, [token.session_id])
    with pytest.raises(Unauthenticated):
        await stores.admission.admit(token, Ask(OFTEN), then=_plan(stores, event, token).command)

    assert await _taken(stores, event) == 0


async def test_a_session_that_redis_does_not_know_is_looked_up_and_books_once(stores, event, token):
    await stores.pipeline.redis.delete(f"{{a:{token.account_id.hex}}}:account")
    plan = _plan(stores, event, token)

    admitted = await stores.admission.admit(token, Ask(OFTEN), then=plan.command)

    assert (await stores.box_office.take(plan, admitted.after)).replayed is False
    assert await _taken(stores, event) == 1


async def test_a_plan_by_terms_that_changed_is_made_again(stores, event, token):
    plan = _plan(stores, event, token)
    await stores.catalog.renew_terms(event.id)

    admitted = await stores.admission.admit(token, Ask(OFTEN), then=plan.command)

    assert admitted.after.words == [b"stale"]
    assert (await stores.box_office.take(plan, admitted.after)).booking.id == plan.new.id
    assert await _taken(stores, event) == 1


async def test_an_event_that_is_not_known_yet_is_asked_for_afterwards(stores, event, token):
    stores.box_office._terms.clear()
    plan = _plan(stores, event, token)

    assert plan.command is None
    assert (await stores.box_office.take(plan)).booking.id == plan.new.id


async def test_what_is_fenced_behind_an_admission_is_asked_again_by_itself(stores, event, token):
    plan = _plan(stores, event, token)
    await stores.pipeline.redis.set(plan.command.keys[0], stores.scripts.epoch + 1)

    admitted = await stores.admission.admit(token, Ask(OFTEN), then=plan.command)

    assert (admitted.rule, admitted.after) == (OFTEN, None)
    await stores.pipeline.redis.set(plan.command.keys[0], stores.scripts.epoch)


@pytest.fixture
def port(tmp_path):
    """Where a node of a cluster listens."""
    listener = listen("127.0.0.1", 0)
    number = listener.getsockname()[1]
    listener.close()
    program = [valkey_server(), "--port", str(number), "--cluster-enabled", "yes", "--dir", str(tmp_path), "--save", ""]
    server = subprocess.Popen(launcher(program, death_signal=signal.SIGKILL), stdout=subprocess.DEVNULL)
    yield number
    server.kill()
    server.wait()


@pytest.fixture
async def node(port):
    """A node that has all the keys of a cluster, and refuses calls as every node does."""
    pipeline = Pipeline(f"redis://127.0.0.1:{port}")
    await eventually(lambda: _done(pipeline, "PING"))
    await pipeline.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    await eventually(lambda: _done(pipeline, "SET", "there", 1))
    yield pipeline
    await pipeline.close()


async def _done(pipeline, *command):
    """Whether a server that is starting does this by now."""
    try:
        await pipeline.call(*command)
    except (Unavailable, ResponseError):
        return False
    return True


async def test_on_a_cluster_both_are_called_by_themselves(node):
    scripts = await first_epoch(node)
    admit = Command("admit_request", ["{a:1}:account", "{a:1}:limit:"], ["session", 1, 0, 0, "", 1])
    look = Command("read_booking", ["{p1}:epoch", "{p1}:booking:1"], [])

    answers = [await scripts.call_joined(admit, look) for _ in range(3)]

    assert [(words[0], after) for words, after in answers] == [(b"unknown", None)] * 3
    # Not asked for both again: each refusal would cost a call.
    assert (await node.redis.info("errorstats"))["errorstat_CROSSSLOT"]["count"] == 1


def test_the_command_of_a_plan_is_that_of_a_reservation(stores, event, token):
    command = _plan(stores, event, token).command

    assert isinstance(command, Command)
    assert command.name == "reserve_tickets"
