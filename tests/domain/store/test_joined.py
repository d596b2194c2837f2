"""What is asked of Redis together: admission and the request's own script, and the checks of all partitions."""

from __future__ import annotations

import signal
import subprocess
from collections import Counter
from uuid import uuid4

import pytest
from redis.exceptions import ResponseError

from domain.kernel.partitions import PARTITIONS, partition_of_event
from domain.kernel.refusals import (
    BookingNotFound,
    EventNotFound,
    IdempotencyKeyReused,
    InventoryUnavailable,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from domain.platform.settings import Limit
from domain.sales.orders import TicketOrder
from domain.store.redis.admission import Ask, Rule
from domain.store.redis.keys import epoch_key
from domain.store.redis.pipeline import Pipeline
from domain.store.redis.scripts import Command
from domain.store.redis.unpersisted_sets import UnpersistedSets
from ops.embedded.binaries import valkey_server
from ops.supervision.launcher import launcher
from ops.supervision.listener import listen
from tests.epochs import first_epoch
from tests.factories import as_polled, book, make_event, open_session
from tests.waiting import eventually

OFTEN = Rule.of("bookings", Limit.parse("100/min"), fails_open=False)
ONCE = Rule.of("once", Limit.parse("1/min"), fails_open=False)


@pytest.fixture
async def token(stores):
    """The token of a buyer who has just logged in."""
    return await open_session(stores, known_to_redis=True)


@pytest.fixture
async def event(stores):
    return await make_event(stores, capacity=5)


def _ask(token, rule=OFTEN):
    return Ask.by(token, rule)


def _order(event, *, key="order-1", quantity=1):
    return TicketOrder(event.id, quantity, key)


async def _taken(stores, event):
    return (await stores.inventory.taken([event.id]))[0]


async def _calls(stores):
    return (await stores.pipeline.redis.info("commandstats"))["cmdstat_evalsha"]["calls"]


async def test_an_admitted_booking_is_one_call(stores, event, token):
    ask, before = _ask(token), await _calls(stores)

    reservation = await stores.box_office.reserve(ask, _order(event))

    assert await _calls(stores) - before == 1
    assert (ask.admitted.rule, ask.admitted.remaining, reservation.replayed) == (OFTEN, OFTEN.quota - 1, False)
    assert await _taken(stores, event) == 1


async def test_an_admitted_look_is_one_call(stores, event, token):
    booking = (await stores.box_office.reserve(Ask.trusted(token.account_id), _order(event))).booking
    ask, before = _ask(token), await _calls(stores)

    assert await stores.box_office.look(ask, booking.id) == as_polled(booking)

    assert await _calls(stores) - before == 1
    assert (ask.admitted.rule, ask.admitted.remaining) == (OFTEN, OFTEN.quota - 1)


async def test_who_is_not_admitted_takes_nothing(stores, event, token):
    await stores.admission.admit(_ask(token, ONCE))
    with pytest.raises(RateLimited):
        await stores.box_office.reserve(_ask(token, ONCE), _order(event))

    with pytest.raises(EventNotFound):
        await stores.box_office.reserve(_ask(token), TicketOrder(uuid4(), 1, "order-2"))
    with pytest.raises(IdempotencyKeyReused):
        await stores.box_office.reserve(_ask(token), _order(event, key="order-2"))

    await stores.admission.sessions_ended(token.account_id, [token.session_id])
    with pytest.raises(Unauthenticated):
        await stores.box_office.reserve(_ask(token), _order(event))

    assert await _taken(stores, event) == 0


async def test_a_request_that_asks_twice_is_counted_once(stores, event, token):
    ask = _ask(token, ONCE)
    booking = (await stores.box_office.reserve(ask, _order(event))).booking

    assert await stores.box_office.look(ask, booking.id) == as_polled(booking)


async def test_nothing_is_read_from_postgres_for_who_is_not_admitted(stores, token, monkeypatch):
    async def read(event_id):
        pytest.fail(f"{event_id} was read")

    monkeypatch.setattr(stores.events, "find", read)
    await stores.admission.admit(_ask(token, ONCE))

    with pytest.raises(RateLimited):
        await stores.box_office.reserve(_ask(token, ONCE), TicketOrder(uuid4(), 1))


async def test_a_look_at_an_id_that_no_booking_has_is_counted(stores, token):
    ask = _ask(token)
    with pytest.raises(BookingNotFound):
        await stores.box_office.look(ask, uuid4())

    assert ask.admitted.remaining == OFTEN.quota - 1


async def test_a_session_that_redis_does_not_know_is_looked_up_and_books_once(stores, event, token):
    await stores.pipeline.redis.delete(f"{{a:{token.account_id.hex}}}:account")

    reservation = await stores.box_office.reserve(_ask(token), _order(event))

    assert reservation.replayed is False
    assert await _taken(stores, event) == 1


async def test_an_order_by_terms_that_changed_is_carried_out_by_the_new_ones(stores, event, token):
    await stores.catalog.renew_terms(event.id)
    ask = _ask(token)

    await stores.box_office.reserve(ask, _order(event))

    assert ask.admitted.remaining == OFTEN.quota - 1
    assert await _taken(stores, event) == 1


async def test_an_order_for_an_event_whose_terms_are_not_cached_is_counted_once(stores, event, token):
    stores.box_office._terms._terms.clear()
    ask = _ask(token)

    reservation = await stores.box_office.reserve(ask, _order(event))

    assert (reservation.replayed, ask.admitted.remaining) == (False, OFTEN.quota - 1)


async def test_what_is_fenced_behind_an_admission_is_asked_again_by_itself(stores, event, token):
    key = epoch_key(partition_of_event(event.id))
    await stores.pipeline.redis.set(key, stores.scripts.epoch + 1)
    ask = _ask(token)

    with pytest.raises(InventoryUnavailable):
        await stores.box_office.reserve(ask, _order(event))

    assert ask.admitted.rule == OFTEN
    await stores.pipeline.redis.set(key, stores.scripts.epoch)


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


async def test_partitions_are_checked_in_one_call_where_their_keys_are_together(stores):
    calls = (await stores.pipeline.redis.info("commandstats"))["cmdstat_evalsha"]["calls"]

    pulses = await stores.unpersisted.pulses()

    assert len(pulses) == PARTITIONS
    assert (await stores.pipeline.redis.info("commandstats"))["cmdstat_evalsha"]["calls"] == calls + 1


async def test_each_partition_is_measured_by_itself(stores):
    events = [await make_event(stores) for _ in range(8)]
    booked = Counter()
    for event in events:
        await book(stores, event)
        booked[partition_of_event(event.id)] += 1

    counts = [pulse.unpersisted_count for pulse in await stores.unpersisted.pulses()]

    assert counts == [booked[partition] for partition in range(PARTITIONS)]
    assert [(await stores.unpersisted.pulse(partition)).unpersisted_count for partition in range(PARTITIONS)] == counts


async def test_on_a_cluster_each_partition_is_checked_by_itself(node):
    scripts = await first_epoch(node)
    for partition in range(PARTITIONS):
        await node.call("SET", epoch_key(partition), await scripts.refresh())
    sets = UnpersistedSets(scripts)

    pulses = [await sets.pulses() for _ in range(3)]

    assert [len(each) for each in pulses] == [PARTITIONS] * 3
    # Not asked for all again: each refusal would cost a call.
    assert (await node.redis.info("errorstats"))["errorstat_CROSSSLOT"]["count"] == 1


async def test_no_partition_is_measured_if_one_does_not_sell(stores):
    await stores.pipeline.redis.delete(epoch_key(PARTITIONS - 1))

    with pytest.raises(InventoryUnavailable):
        await stores.unpersisted.pulses()
