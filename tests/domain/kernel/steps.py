"""Steps of the machine: each is taken by the engine and by the model, and both must answer the same."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import UUID

from domain.background.persisting import write
from domain.kernel.bookings import BookingStatus, Reduction
from domain.kernel.claims import read_claims, reduced_claims
from domain.kernel.partitions import booking_id_for_key
from domain.kernel.refusals import BookingNotFound, Refusal
from domain.sales.orders import TicketOrder
from domain.store.postgres.epochs import EpochOver
from domain.store.redis.admission import Ask
from tests.domain.kernel.draws import FREE, pick
from tests.domain.kernel.engine_access import EngineAccess
from tests.domain.kernel.model import Asked, Copy
from tests.domain.kernel.orders import AnyOrder

if TYPE_CHECKING:
    from domain.engine import Stores
    from domain.kernel.bookings import Booking, Order
    from domain.kernel.unpersisted import Unpersisted, Written
    from tests.domain.kernel.model import Snapshot


class Batch:
    """One worker's batch, in the engine and in the model, and how far it got."""

    def __init__(self, partition: int, entries: list[Unpersisted], model: Snapshot, epoch: int) -> None:
        self.partition = partition
        self.entries = entries
        self.model = model
        self.epoch = epoch
        self.written: dict[str, Written] = {}
        self.refused: list[Any] = []


class Steps(EngineAccess):
    """One method per step."""

    def order(self, event_id: UUID, key: str, quantity: int, ordered: Any) -> Order:
        if ordered is None:
            return TicketOrder(event_id, quantity, key)
        units, allowance, odd, others, hold_ms = ordered
        names = [*self.model.events[event_id].sizes, *FREE]
        lists = [tuple((pick(names, number), units) for number, units in each) for each in (units, *others)]
        return AnyOrder(event_id, lists[0], quantity, key, allowance, odd, tuple(lists[1:]), hold_ms)

    def reserve_one(self, user_id: UUID, order: Order, stores: Stores) -> None:
        key, event_id = str(order.idempotency_key), order.event_id
        booking_id = booking_id_for_key(account_id=user_id, idempotency_key=key, event_id=event_id)
        known = self.model.booking(booking_id)

        expected = self.model.reserve(Asked(booking_id, event_id, user_id, key, order))

        answer = self.answer(stores, user_id, order)
        if isinstance(answer, str):
            assert answer == expected
            return
        assert ("replayed" if answer.replayed else "reserved") == expected
        assert answer.booking.id == booking_id
        copy = known or self.model.records[booking_id]
        assert answer.booking.status == copy.told.status
        assert read_claims(answer.booking.known_claims) == copy.claims

    def answer(self, stores: Stores, user_id: UUID, order: Order) -> Any:
        """The reservation, or the model's word for its refusal."""
        try:
            return self.run(stores.box_office.reserve(Ask.trusted(user_id), order))
        except Refusal as refusal:
            return self.word(refusal, order, user_id)

    def cancel_one(self, booking_id: UUID, stores: Stores) -> None:
        try:
            cancelled = self.run(self.cancelled(stores, booking_id)).status
        except BookingNotFound:
            cancelled = None

        assert cancelled == self.model.cancel(booking_id)

    def reduce_one(self, booking_id: UUID, parts: list[int], stores: Stores) -> None:
        """Give back `parts` of the claims and of the tickets, taken around; the counter of a hold is kept."""
        copy = self.model.booking(booking_id) or Copy(BookingStatus.REJECTED, 0, Counter())
        quantity = max(1, copy.quantity - parts[0])
        kept = Counter(copy.claims)
        if quantity < copy.quantity:
            for number, counter in enumerate(copy.claims):
                kept[counter] = max(0, copy.claims[counter] - parts[number % len(parts)])

        def keep(booking: Booking) -> Reduction:
            assert read_claims(booking.known_claims) == copy.claims
            return Reduction(reduced_claims(booking.known_claims, kept), quantity)

        answer = self.changed(stores.box_office.reduce(booking_id, keep))

        assert answer == self.model.reduce(booking_id, kept, quantity)

    def write(self, batch: Batch) -> None:
        try:
            batch.written, batch.refused = self.run(write(self.stores, batch.entries, epoch=batch.epoch))
        except EpochOver:
            assert batch.epoch < self.stores.scripts.epoch
            return

        assert batch.epoch == self.stores.scripts.epoch
        assert {UUID(entry.id) for entry, _ in batch.refused} == self.model.write(batch.model)
        assert {UUID(row.id): (row.status, row.version) for row in batch.written.values()} == {
            each: (row.status, row.version) for each, row in batch.model.written.items()
        }

    def leave_only(self, spare: int) -> None:
        """Leave so many units of every counter in PostgreSQL, and of none more than there are."""
        for event_id, event in self.model.events.items():
            taken = self.model.row_counters(event_id)
            event.row_sizes = {name: min(size, taken[name] + spare) for name, size in event.row_sizes.items()}
        self.resize_rows()

    def shrunk(self, event_id: UUID) -> set[tuple[str, str]]:
        """The fault of a row whose size was changed behind the engine's back; reconciliation repairs it."""
        event = self.model.events[event_id]
        faults = {("row_resized", name) for name, size in event.sizes.items() if event.row_sizes[name] != size}
        self.model.renew(event_id)
        return faults

    @staticmethod
    async def cancelled(stores: Stores, booking_id: UUID) -> Any:
        return await stores.box_office.cancel(await stores.box_office.booking(booking_id))
