"""The machine: what may happen to the engine, in any order, and what must be so after each step."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, initialize, invariant, precondition, rule
from msgspec import structs

from domain.background.persisting import expire, persist_once, reject, settlements
from domain.kernel.claims import is_single
from domain.kernel.counters import POOL_MAIN, user_counter
from domain.kernel.partitions import partition_of_booking, partition_of_event
from domain.kernel.refusals import BookingNotFound, NotOnSale
from domain.sales.orders import TicketOrder
from ops.evidence.books import claims_of
from tests.books import counters_of, differences, records_of, unpersisted
from tests.domain.kernel.draws import (
    ASKS,
    COUNTERS,
    EVENTS,
    FATES,
    FAULT_RECORDS_MIN,
    HOLD_MS,
    MOVES,
    NAMES,
    NUMBERS,
    ORDERED,
    ORDERS,
    PROCESSES,
    SIZES,
    USERS,
    pick,
)
from tests.domain.kernel.model import EventModel, Model
from tests.domain.kernel.steps import Batch, Steps
from tests.factories import place_accounts, place_counters, place_event, tomorrow


class Machine(Steps):
    """Rules are named for what happens, invariants for what is so."""

    batches = Bundle("batches")

    @initialize(
        capacities=st.lists(st.integers(2, 8), min_size=3, max_size=3),
        limit=st.integers(2, 9),
        counters=st.lists(COUNTERS, min_size=3, max_size=3),
    )
    def open_sales(self, capacities: list[int], limit: int, counters: list[dict[str, int]]) -> None:
        self.model = Model(durable=self.durable)
        self.extensions = 0
        self.run(place_accounts(self.stores, USERS))
        for event_id, capacity, others in zip(EVENTS, capacities, counters, strict=True):
            self.run(place_event(self.stores, event_id, capacity=capacity, max_per_user=limit))
            self.run(place_counters(self.stores, event_id, **others))
            sizes = {POOL_MAIN: capacity, **others}
            self.model.events[event_id] = EventModel(limit, sizes, dict(sizes))

    @rule(asks=st.lists(ASKS, min_size=1, max_size=6), process=PROCESSES)
    def reserve(self, asks: list[Any], process: int) -> None:
        for event, user, key, quantity, ordered in asks:
            order = self.order(EVENTS[event], key, quantity, ordered)
            self.reserve_one(USERS[user], order, self.processes[process])

    @precondition(lambda self: self.model.asked)
    @rule(number=NUMBERS, more=st.sampled_from((0, 0, 0, 1)), other=st.none() | st.none() | ORDERED, process=PROCESSES)
    def ask_again(self, number: int, more: int, other: Any, process: int) -> None:
        """The same order with its key, or another one."""
        asked = pick(self.model.asked.values(), number)
        order = structs.replace(asked.order, quantity=asked.order.quantity + more)
        if other is not None:
            order = self.order(asked.event_id, asked.key, asked.order.quantity, other)
        self.reserve_one(asked.user_id, order, self.processes[process])

    @precondition(lambda self: self.model.asked)
    @rule(numbers=st.lists(NUMBERS, min_size=1, max_size=3), process=PROCESSES)
    def cancel(self, numbers: list[int], process: int) -> None:
        for number in numbers:
            self.cancel_one(pick(self.model.asked, number), self.processes[process])

    @precondition(lambda self: self.holds())
    @rule(numbers=st.lists(NUMBERS, min_size=1, max_size=3))
    def deadlines_pass(self, numbers: list[int]) -> None:
        for booking_id in {pick(self.holds(), number) for number in numbers}:
            self.run(self.due(booking_id))

            self.model.make_due(booking_id)

    @precondition(lambda self: self.model.asked)
    @rule(number=NUMBERS, process=PROCESSES)
    def confirm(self, number: int, process: int) -> None:
        """In time or late; or of what is no hold, or no hold any more."""
        booking_id = pick(self.confirmable() or self.model.asked, number)

        answer = self.changed(self.processes[process].box_office.confirm(booking_id))

        assert answer == self.model.confirm(booking_id)

    @precondition(lambda self: self.model.asked)
    @rule(number=NUMBERS, process=PROCESSES)
    def confirm_any(self, number: int, process: int) -> None:
        booking_id = pick(self.model.asked, number)

        answer = self.changed(self.processes[process].box_office.confirm(booking_id))

        assert answer == self.model.confirm(booking_id)

    @precondition(lambda self: self.holds())
    @rule(number=NUMBERS, process=PROCESSES)
    def extend(self, number: int, process: int) -> None:
        booking_id = pick(self.holds(), number)
        self.extensions += 1
        hold_ms = HOLD_MS * (1 + self.extensions)

        answer = self.changed(
            self.processes[process].box_office.extend(booking_id, hold_ms=hold_ms, cap_ms=2 * hold_ms)
        )

        assert answer == self.model.extend(booking_id)

    @precondition(lambda self: self.model.asked)
    @rule(number=NUMBERS, parts=st.lists(st.integers(0, 3), min_size=1, max_size=4), process=PROCESSES)
    def reduce(self, number: int, parts: list[int], process: int) -> None:
        """Give back parts of a booking in any state: of its tickets, and of each of its claims."""
        self.reduce_one(pick(self.reducible() or self.model.asked, number), parts, self.processes[process])

    @precondition(lambda self: self.model.asked)
    @rule(number=NUMBERS, parts=st.lists(st.integers(0, 3), min_size=1, max_size=4), process=PROCESSES)
    def reduce_any(self, number: int, parts: list[int], process: int) -> None:
        self.reduce_one(pick(self.model.asked, number), parts, self.processes[process])

    @precondition(lambda self: self.holds())
    @rule(number=NUMBERS, process=PROCESSES)
    def sweep(self, number: int, process: int) -> None:
        """A worker expires the holds of a partition."""
        partition = partition_of_booking(pick(self.holds(), number))

        expired = self.run(expire(self.processes[process], partition))

        assert expired == sum(self.model.expire(each) for each in EVENTS if partition_of_event(each) == partition)

    @precondition(lambda self: self.model.unpersisted)
    @rule(number=NUMBERS, order=ORDERS, process=PROCESSES, spare=st.sampled_from((None, None, None, 0, 1)))
    def persist(self, number: int, order: int, process: int, spare: int | None) -> None:
        """A worker does all it does with a batch; with `spare`, while PostgreSQL's counters have less left."""
        partition = partition_of_booking(pick(self.unpersisted(), number))
        waiting = self.waiting(partition, order)
        before = {event_id: event.row_sizes for event_id, event in self.model.events.items()}
        if spare is not None:
            self.leave_only(spare)

        done = self.run(persist_once(self.processes[process], partition))

        self.model.persist([UUID(entry.id) for entry in waiting])
        assert done.left == sum(partition_of_booking(each) == partition for each in self.model.unpersisted)
        if spare is not None:
            for event_id, sizes in before.items():
                self.model.events[event_id].row_sizes = sizes
            self.resize_rows()

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
            elif step == "reduce":
                self.reduce_one(booking_id, [1], self.stores)
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

    @precondition(lambda self: self.model.asked)
    @rule(event=st.integers(0, 2), number=NUMBERS, size=st.integers(0, 8), process=PROCESSES)
    def resize(self, event: int, number: int, size: int, process: int) -> None:
        """Give a counter another size: tickets by a change of the event, others by hand."""
        event_id = EVENTS[event]
        counter = pick(self.model.events[event_id].sizes, number)
        same = self.model.events[event_id].sizes[counter] == size

        if counter != POOL_MAIN:
            accepted = self.place(event_id, counter, size)
            assert accepted is (self.model.resize(event_id, counter, size) == "changed")
        elif size:
            answer = self.change(process, event_id, capacity=size)
            assert answer == ("changed" if same else self.model.resize(event_id, counter, size))

    @precondition(lambda self: self.model.asked)
    @rule(event=st.integers(0, 2), limit=st.integers(1, 9), process=PROCESSES)
    def edit(self, event: int, limit: int, process: int) -> None:
        """Change an event, but no size of its counters."""
        self.edits = getattr(self, "edits", 0) + 1
        answer = self.change(process, EVENTS[event], max_per_user=limit, title=f"Title {self.edits}")

        assert answer == "changed"
        self.model.events[EVENTS[event]].max_per_user = limit
        self.model.renew(EVENTS[event])

    @precondition(lambda self: self.model.asked)
    @rule(event=st.integers(0, 2), name=st.sampled_from(NAMES), size=SIZES)
    def add_or_remove_a_counter(self, event: int, name: str, size: int) -> None:
        """By hand. A counter that bookings claim must not begin at 0, so it is not added again."""
        event_id, model = EVENTS[event], self.model.events[EVENTS[event]]
        if name in model.sizes:
            self.run(
                self.execute("DELETE FROM counters WHERE event_id = :id AND counter = :name", id=event_id, name=name)
            )
            self.run(self.stores.catalog.renew_terms(event_id))
            del model.sizes[name]
        elif any(
            name in self.model.claimed[each] for each, asked in self.model.asked.items() if asked.event_id == event_id
        ):
            return
        else:
            self.run(place_counters(self.stores, event_id, **{name: size}))
            model.sizes[name] = size
        self.model.renew(event_id)

    @precondition(lambda self: self.model.unpersisted)
    @rule(event=st.integers(0, 2), size=st.integers(0, 6))
    def shrink_the_pool_behind_the_engine(self, event: int, size: int) -> None:
        event_id = EVENTS[event]
        size = max(size, self.model.row_counters(event_id)[POOL_MAIN])

        self.model.events[event_id].row_sizes[POOL_MAIN] = size

        self.resize_rows()

    @precondition(lambda self: self.model.asked)
    @rule(event=st.integers(0, 2), moves=MOVES)
    def reconcile_what_was_moved_in_redis(self, event: int, moves: dict[int, int]) -> None:
        event_id = EVENTS[event]
        known = sorted({*self.model.events[event_id].sizes, *self.model.counters(event_id), *map(user_counter, USERS)})
        moved: Counter[str] = Counter()
        for number, by in moves.items():
            moved[pick(known, number)] += by
        self.run(self.move(event_id, moved))

        found = self.reconciled(event_id)

        self.model.seen |= {(event_id, user_id) for user_id in USERS if user_counter(user_id) in moved}
        expected = {(f"counter_too_{'high' if by > 0 else 'low'}", counter) for counter, by in moved.items() if by}
        assert found == expected | self.shrunk(event_id)

    @precondition(lambda self: self.model.asked)
    @rule(event=st.integers(0, 2), number=NUMBERS, more=st.integers(1, 5))
    def reconcile_what_was_miscounted_in_postgresql(self, event: int, number: int, more: int) -> None:
        event_id = EVENTS[event]
        counter, size = pick(self.model.events[event_id].row_sizes.items(), number)
        right = self.model.row_counters(event_id)[counter]
        taken = (right + more) % (size + 1)
        statement = "UPDATE counters SET taken = :taken WHERE event_id = :id AND counter = :counter"
        self.run(self.execute(statement, taken=taken, id=event_id, counter=counter))

        found = self.reconciled(event_id)

        assert found == ({("row_miscounted", counter)} if taken != right else set()) | self.shrunk(event_id)

    @precondition(lambda self: self.model.seats())
    @rule(number=NUMBERS, how=st.sampled_from(("gone", "stray", "of another booking")))
    def reconcile_a_misplaced_single(self, number: int, how: str) -> None:
        (event_id, counter), booking_id = pick(self.model.seats().items(), number)
        match how:
            case "gone":
                statement = "DELETE FROM seats WHERE event_id = :id AND counter = :counter"
            case "stray":
                statement = "INSERT INTO seats VALUES (:id, :stray, :booking)"
            case _:
                statement = "UPDATE seats SET booking_id = :id WHERE event_id = :id AND counter = :counter"
        values = {"id": event_id, "counter": counter, "stray": "seat:Z-9", "booking": booking_id}
        self.run(self.execute(statement, **{name: value for name, value in values.items() if f":{name}" in statement}))

        found = self.reconciled(event_id)

        expected = {("row_miscounted", "seat:Z-9" if how == "stray" else counter)}
        assert found == expected | self.shrunk(event_id)

    @precondition(lambda self: self.model.asked)
    @rule()
    def reconcile_what_is_in_order(self) -> None:
        expected = {fault for event_id in EVENTS for fault in self.shrunk(event_id)}

        assert self.reconciled() == expected
        assert self.run(differences(self.stores)) == []

    @precondition(lambda self: self.model.asked)
    @rule(event=st.integers(0, 2), process=PROCESSES)
    def close_and_open_again(self, event: int, process: int) -> None:
        event_id = EVENTS[event]
        moving = {*self.model.unpersisted, *self.holds()}
        at_rest = not any(self.model.asked[each].event_id == event_id for each in moving)

        assert self.close(event_id) is int(at_rest)

        self.model.renew(event_id)
        if at_rest:
            assert self.run(counters_of(self.stores, event_id)) == {}
            asked = TicketOrder(event_id, 1)
            assert self.answer(self.processes[process], USERS[0], asked).startswith(NotOnSale.__name__)
            self.model.reopen(event_id)
        assert self.change(process, event_id, starts_at=tomorrow()) == "changed"

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
    reserve_more = reserve_yet_more = reserve_still_more = reserve
    ask_once_more = ask_again
    deadlines_pass_more = deadlines_pass_still_more = deadlines_pass
    confirm_more = confirm
    reduce_more = reduce
    cancel_more = cancel_yet_more = cancel
    persist_more = persist_yet_more = persist_still_more = persist
    read_more = read_yet_more = read_still_more = read
    reconcile_more_of_what_was_moved = reconcile_what_was_moved_in_redis

    @invariant()
    def every_counter_is_what_the_bookings_hold(self) -> None:
        for event_id, event in self.model.events.items():
            found = self.run(counters_of(self.stores, event_id))
            assert Counter(found) == self.model.counters(event_id)
            assert all(found.get(counter, 0) <= size for counter, size in event.sizes.items())
            assert all(units <= 1 for counter, units in found.items() if is_single(counter))

    @invariant()
    def unpersisted_is_what_postgresql_has_not_heard_of(self) -> None:
        assert self.run(unpersisted(self.stores)) == self.model.unpersisted

    @invariant()
    def rows_are_what_was_written(self) -> None:
        rows, counters, seats = self.run(
            self.fetch(
                "SELECT id, status, version, claims, user_id, quantity FROM bookings",
                "SELECT event_id, counter, size, taken FROM counters",
                "SELECT event_id, counter, booking_id FROM seats",
            )
        )

        assert {
            row.id: (row.status, row.version, row.quantity, claims_of(row.claims, row.user_id)) for row in rows
        } == {each: (row.status, row.version, row.quantity, row.claims) for each, row in self.model.rows.items()}
        assert {(row.event_id, row.counter): (row.size, row.taken) for row in counters} == {
            (event_id, counter): (size, taken[counter])
            for event_id, event in self.model.events.items()
            for taken in [self.model.row_counters(event_id)]
            for counter, size in event.row_sizes.items()
        }
        assert {(row.event_id, row.counter): row.booking_id for row in seats} == self.model.seats()

    @invariant()
    def records_are_what_changed_lately(self) -> None:
        records = self.run(records_of(self.stores, self.model.asked))

        assert records == {
            each: (record.status, record.version, record.claims) for each, record in self.model.records.items()
        }

    @precondition(lambda self: self.model.asked)
    @rule(number=NUMBERS, process=PROCESSES)
    def every_booking_is_answered_as_it_stands(self, number: int, process: int) -> None:
        booking_id = pick(self.model.asked, number)
        try:
            found = self.run(self.processes[process].box_office.booking(booking_id))
            answer = (found.status, found.version)
        except BookingNotFound:
            answer = None

        booking = self.model.booking(booking_id)
        assert answer == (booking and (booking.told.status, booking.told.version))
