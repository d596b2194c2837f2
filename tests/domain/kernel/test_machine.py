"""The real scripts and statements behave as the model in every sequence of actions and faults."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from domain.background.persisting import persist_once, reject, settlements, write
from domain.background.rebuilding import rebuild
from domain.engine import open_stores
from domain.kernel.partitions import PARTITIONS, booking_id_for_key, partition_of_booking
from domain.kernel.refusals import (
    BookingNotFound,
    CapacityBelowSold,
    IdempotencyKeyReused,
    PerUserLimit,
    Refusal,
    SoldOut,
    Unavailable,
)
from domain.sales.events import EventChanges
from domain.sales.orders import TicketOrder
from domain.store.postgres.epochs import EpochOver
from domain.store.redis.admission import Ask
from ops.chaos.protections import Protection, without
from tests.books import counters_of, records_of, unpersisted
from tests.domain.kernel.model import Asked, Copy, EventModel, Model
from tests.factories import ORGANIZED, place_accounts, place_event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from domain.engine import Stores
    from domain.kernel.unpersisted import Unpersisted, Written
    from domain.platform.settings import Settings
    from tests.domain.kernel.model import Snapshot

WORDS = {
    SoldOut: "sold_out",
    PerUserLimit: "per_user_limit",
    IdempotencyKeyReused: "mismatch",
    CapacityBelowSold: "below_sold",
    Unavailable: "later",
}
"""What the engine raises, in the model's words."""

EXAMPLES, RULES = 12, 40
"""Some 10 seconds; a night's worth is a matter of these two."""

EVENTS = tuple(UUID(f"{digit}0000000-0000-4000-8000-000000000000") for digit in "1c2")
USERS = tuple(UUID(f"{digit}0000000-0000-4000-8000-000000000000") for digit in "789")
KEYS = ("a", "b")
"""Few enough that what is asked for meets what was asked for before. The first two events share a partition."""


ASKS = st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from(KEYS), st.integers(1, 3))
"""Event, account, key, quantity."""

PROCESSES = st.integers(0, 1)
ORDERS = st.integers(0, 2)
STEPS = ("write", "settle", "reject", "cancel", "wipe", "restart")
FATES = st.permutations(STEPS).map(lambda steps: steps[: 1 + steps.index("settle")]) | st.lists(
    st.sampled_from(STEPS), max_size=4
)
"""How far a worker gets with a batch, and what happens meanwhile to the first booking or to Redis."""

NUMBERS = st.integers(0, 20)
"""Which of what there is; counted around."""

FAULT_RECORDS_MIN = 3
"""Records in Redis that make it worth losing them."""


def pick(items: Collection[Any], number: int) -> Any:
    """One of the items, the same one for the same number."""
    return list(items)[number % len(items)]


class Batch:
    """One worker's batch, in the engine and in the model, and how far it got."""

    def __init__(self, partition: int, entries: list[Unpersisted], model: Snapshot, epoch: int) -> None:
        self.partition = partition
        self.entries = entries
        self.model = model
        self.epoch = epoch
        self.written: dict[str, Written] = {}
        self.refused: list[Any] = []


class Machine(RuleBasedStateMachine):
    """`run` runs a coroutine; `processes` are the stores of two processes."""

    run: Callable[[Awaitable[Any]], Any]
    processes: tuple[Stores, Stores]

    batches = Bundle("batches")

    @initialize(capacities=st.lists(st.integers(1, 6), min_size=3, max_size=3), limit=st.integers(1, 5))
    def open_sales(self, capacities: list[int], limit: int) -> None:
        self.model = Model()
        self.run(place_accounts(self.stores, USERS))
        for event_id, capacity in zip(EVENTS, capacities, strict=True):
            self.run(place_event(self.stores, event_id, capacity=capacity, max_per_user=limit))
            self.model.events[event_id] = EventModel(capacity, limit, capacity)

    @rule(asks=st.lists(ASKS, min_size=1, max_size=6), process=PROCESSES)
    def reserve(self, asks: list[tuple[int, int, str, int]], process: int) -> None:
        for event, user, key, quantity in asks:
            self.reserve_one(EVENTS[event], USERS[user], key, quantity, self.processes[process])

    @precondition(lambda self: self.model.asked)
    @rule(number=NUMBERS, more=st.sampled_from((0, 0, 1)), process=PROCESSES)
    def ask_again(self, number: int, more: int, process: int) -> None:
        asked = pick(self.model.asked.values(), number)
        self.reserve_one(asked.event_id, asked.user_id, asked.key, asked.quantity + more, self.processes[process])

    @precondition(lambda self: self.model.asked)
    @rule(numbers=st.lists(NUMBERS, min_size=1, max_size=3), process=PROCESSES)
    def cancel(self, numbers: list[int], process: int) -> None:
        for number in numbers:
            self.cancel_one(pick(self.model.asked, number), self.processes[process])

    @precondition(lambda self: self.model.unpersisted)
    @rule(number=NUMBERS, order=ORDERS, process=PROCESSES)
    def persist(self, number: int, order: int, process: int) -> None:
        partition = partition_of_booking(pick(self.unpersisted(), number))
        waiting = self.waiting(partition, order)

        done = self.run(persist_once(self.processes[process], partition))

        self.model.persist([UUID(entry.id) for entry in waiting])
        assert done.left == sum(partition_of_booking(each) == partition for each in self.model.unpersisted)

    @precondition(lambda self: self.model.unpersisted)
    @rule(target=batches, number=NUMBERS, order=ORDERS, steps=FATES)
    def read(self, number: int, order: int, steps: list[str]) -> Batch:
        """A worker reads a batch and gets as far with it as `steps` say."""
        booking_id = pick(self.unpersisted(), number)
        partition = partition_of_booking(booking_id)
        entries = self.waiting(partition, order)
        model = self.model.read(UUID(entry.id) for entry in entries)
        batch = Batch(partition, entries, model, self.stores.scripts.epoch)
        for step in steps:
            if step == "cancel":
                self.cancel_one(booking_id, self.stores)
            else:
                self.go_on(batch, step)
        return batch

    @rule(batch=batches, step=st.sampled_from(("write", "settle", "reject")))
    def go_on(self, batch: Batch, step: str) -> None:
        """A worker that slept does the next step, or one that it did before."""
        match step:
            case "write":
                self.write(batch)
            case "settle":
                self.run(self.stores.unpersisted.settle(batch.partition, settlements(batch.entries, batch.written)))
                self.model.settle(batch.model)
            case "reject":
                for entry, reason in batch.refused:
                    self.run(reject(self.stores, entry, reason))
                    self.model.reject(UUID(entry.id), version=entry.version)
            case "wipe":
                self.wipe()
            case _:
                self.restart(1)

    @precondition(lambda self: self.settled())
    @rule(numbers=st.lists(NUMBERS, min_size=1, max_size=4))
    def retire(self, numbers: list[int]) -> None:
        for booking_id in {pick(self.settled(), number) for number in numbers}:
            self.run(self.forgotten(booking_id))

            self.model.retire(booking_id)

    @precondition(lambda self: self.model.unpersisted)
    @rule(event=st.integers(0, 2), capacity=st.integers(1, 8), process=PROCESSES)
    def resize(self, event: int, capacity: int, process: int) -> None:
        event_id = EVENTS[event]
        changes = EventChanges(capacity=capacity)

        answer = self.answer(
            self.processes[process].event_actions.change(event_id, changes, caller=ORGANIZED, expected_version=None)
        )

        expected = self.model.resize(event_id, capacity)
        assert (answer if isinstance(answer, str) else "changed") == expected.replace("same", "changed")

    @precondition(lambda self: self.model.unpersisted)
    @rule(event=st.integers(0, 2), size=st.integers(0, 6))
    def shrink_the_pool_behind_the_engine(self, event: int, size: int) -> None:
        event_id = EVENTS[event]
        size = max(size, self.model.pool_taken(event_id))

        self.run(self.execute("UPDATE counters SET size = :size WHERE event_id = :id", size=size, id=event_id))

        self.model.events[event_id].pool_size = size

    @precondition(lambda self: len(self.model.records) > FAULT_RECORDS_MIN)
    @rule(order=ORDERS)
    def restart(self, order: int) -> None:
        self.run(self.stores.pipeline.redis.script_flush())
        self.begin_again(order)

    @precondition(lambda self: len(self.model.records) > FAULT_RECORDS_MIN)
    @rule()
    def wipe(self) -> None:
        self.run(self.stores.pipeline.redis.flushall())
        self.model.wipe()
        self.begin_again(0)

    # A rule of several names is drawn that much more often.
    reserve_more = reserve_yet_more = reserve
    cancel_more = cancel
    persist_more = persist_yet_more = persist_still_more = persist
    read_more = read

    @invariant()
    def every_counter_is_what_the_bookings_hold(self) -> None:
        for event_id, event in self.model.events.items():
            found = self.run(counters_of(self.stores, event_id))
            assert Counter(found) == self.model.counters(event_id)
            assert found.get("pool:main", 0) <= event.capacity

    @invariant()
    def unpersisted_is_what_postgresql_has_not_heard_of(self) -> None:
        assert self.run(unpersisted(self.stores)) == self.model.unpersisted

    @invariant()
    def rows_are_what_was_written(self) -> None:
        rows, pools = self.run(
            self.fetch("SELECT id, status, version FROM bookings", "SELECT event_id, size, taken FROM counters")
        )

        assert {row.id: (row.status, row.version) for row in rows} == {
            booking_id: (row.status, row.version) for booking_id, row in self.model.rows.items()
        }
        assert {pool.event_id: (pool.size, pool.taken) for pool in pools} == {
            event_id: (event.pool_size, self.model.pool_taken(event_id))
            for event_id, event in self.model.events.items()
        }

    @invariant()
    def records_are_what_changed_lately(self) -> None:
        records = self.run(records_of(self.stores, self.model.asked))

        assert records == {each: (record.status, record.version) for each, record in self.model.records.items()}

    @precondition(lambda self: self.model.asked)
    @rule(number=NUMBERS, process=PROCESSES)
    def every_booking_is_answered_as_it_stands(self, number: int, process: int) -> None:
        booking_id = pick(self.model.asked, number)
        try:
            found = self.run(self.processes[process].box_office.booking(booking_id))
            answer = Copy(found.status, found.version)
        except BookingNotFound:
            answer = None

        assert answer == self.model.booking(booking_id)

    def teardown(self) -> None:
        self.run(self.stores.pipeline.redis.flushall())
        self.run(self.execute(*(f"DELETE FROM {table}" for table in ("bookings", "counters", "events", "accounts"))))
        self.begin_again_without_model()

    def reserve_one(self, event_id: UUID, user_id: UUID, key: str, quantity: int, stores: Stores) -> None:
        booking_id = booking_id_for_key(account_id=user_id, idempotency_key=key, event_id=event_id)
        known = self.model.booking(booking_id)

        expected = self.model.reserve(Asked(booking_id, event_id, user_id, key, quantity))

        answer = self.answer(stores.box_office.reserve(Ask.trusted(user_id), TicketOrder(event_id, quantity, key)))
        if isinstance(answer, str):
            assert answer == expected
            return
        assert ("replayed" if answer.replayed else "reserved") == expected
        assert answer.booking.id == booking_id
        assert answer.booking.status == (known or self.model.records[booking_id]).status

    def cancel_one(self, booking_id: UUID, stores: Stores) -> None:
        try:
            cancelled = self.run(self.cancelled(stores, booking_id)).status
        except BookingNotFound:
            cancelled = None

        assert cancelled == self.model.cancel(booking_id)

    def write(self, batch: Batch) -> None:
        try:
            batch.written, batch.refused = self.run(write(self.stores, batch.entries, epoch=batch.epoch))
        except EpochOver:
            assert batch.epoch < self.stores.scripts.epoch
            return

        assert batch.epoch == self.stores.scripts.epoch
        assert {UUID(entry.id) for entry, _ in batch.refused} == self.model.write(batch.model)
        copies = {UUID(row.id): Copy(row.status, row.version) for row in batch.written.values()}
        assert copies == batch.model.written

    def settled(self) -> list[UUID]:
        """Bookings whose record may retire, in the order they were made in."""
        return [each for each in self.model.asked if each in self.model.records and each not in self.model.unpersisted]

    def unpersisted(self) -> list[UUID]:
        """Bookings that PostgreSQL has not heard of, in the order they were made in."""
        return [each for each in self.model.asked if each in self.model.unpersisted]

    @property
    def stores(self) -> Stores:
        return self.processes[0]

    def waiting(self, partition: int, order: int) -> list[Unpersisted]:
        """The unpersisted bookings of a partition, put into an order that clocks might have put them into."""
        self.reorder(partition, order)
        entries: list[Unpersisted] = self.run(self.stores.unpersisted.read(partition, limit=1_000))
        return entries

    def surviving(self, partition: int, order: int) -> list[UUID]:
        """What a rebuild finds of a partition, whatever the epoch."""
        self.reorder(partition, order)
        found = self.run(self.stores.unpersisted.bookings(partition, limit=1_000))
        return [booking.id for booking in found]

    def reorder(self, partition: int, order: int) -> None:
        ids = [each for each in self.unpersisted() if partition_of_booking(each) == partition]
        self.run(self.rank(partition, ids[order % 3 :] + ids[: order % 3]))

    def begin_again(self, order: int) -> None:
        survived = [self.surviving(partition, order) for partition in range(PARTITIONS)]
        self.begin_again_without_model()
        self.model.rebuild(survived)

    def begin_again_without_model(self) -> None:
        self.run(rebuild(self.stores))
        self.run(self.processes[1].scripts.refresh())

    def answer(self, call: Awaitable[Any]) -> Any:
        """What a call answers, or the word for what it raised."""
        try:
            return self.run(call)
        except tuple(WORDS) as refusal:
            return WORDS[type(refusal)]

    @staticmethod
    async def cancelled(stores: Stores, booking_id: UUID) -> Any:
        return await stores.box_office.cancel(await stores.box_office.booking(booking_id))

    async def rank(self, partition: int, booking_ids: list[UUID]) -> None:
        now_ms = await self.stores.inventory.now_ms()
        for number, booking_id in enumerate(booking_ids):
            await self.stores.pipeline.redis.zadd(f"{{p{partition}}}:unpersisted", {str(booking_id): now_ms + number})

    async def forgotten(self, booking_id: UUID) -> None:
        await self.stores.pipeline.redis.delete(f"{{p{partition_of_booking(booking_id)}}}:booking:{booking_id}")

    async def execute(self, *statements: str, **values: Any) -> None:
        async with self.stores.database.begin() as connection:
            for statement in statements:
                await connection.execute(text(statement), values)

    async def fetch(self, *statements: str) -> list[list[Any]]:
        async with self.stores.database.connect() as connection:
            return [list((await connection.execute(text(statement))).all()) for statement in statements]


@pytest.mark.usefixtures("clean")
def test_the_engine_does_what_the_model_does(settings):
    run(settings, EXAMPLES, [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink])


@pytest.mark.unbalanced
@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize(
    "protection",
    [
        Protection.SIZE_CHECK,
        Protection.RELEASE_ONCE,
        Protection.EPOCH_IN_POSTGRES,
        Protection.STABLE_ID,
        Protection.LOOKUP,
    ],
)
def test_the_model_notices_a_protection_that_is_missing(settings, protection):
    with without(protection), pytest.raises((AssertionError, Refusal)):
        run(settings, EXAMPLES * 10, [Phase.generate])


def run(settings: Settings, examples: int, phases: list[Phase]) -> None:
    """Run the machine on the stores of two processes, in a loop of its own."""
    with asyncio.Runner() as runner, ExitStack() as closing:
        processes = tuple(_opened(runner, closing, settings) for _ in range(2))
        for each in processes:
            runner.run(each.scripts.refresh())
        machine = type("BoundMachine", (Machine,), {"run": staticmethod(runner.run), "processes": processes})
        run_state_machine_as_test(
            machine,
            settings=hypothesis_settings(
                max_examples=examples,
                stateful_step_count=RULES,
                phases=phases,
                deadline=None,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )


def _opened(runner: asyncio.Runner, closing: ExitStack, settings: Settings) -> Stores:
    opening = open_stores(settings)
    stores = runner.run(opening.__aenter__())
    closing.callback(lambda: runner.run(opening.__aexit__(None, None, None)))
    runner.run(rebuild(stores))
    return stores
