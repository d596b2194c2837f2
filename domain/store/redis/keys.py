"""The names of the inventory's keys.

All keys of an event are in one partition, and share the tag by which Redis Cluster places them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.kernel.partitions import partition_of_booking, partition_of_event

if TYPE_CHECKING:
    from uuid import UUID


def epoch_key(partition: int) -> str:
    """The epoch in which a partition sells."""
    return f"{{p{partition}}}:epoch"


def counters_key(event_id: UUID) -> str:
    """The counters of an event, and its terms in force."""
    return f"{{p{partition_of_event(event_id)}}}:counters:{event_id}"


def record_key(booking_id: UUID) -> str:
    """The record of a booking. It has a lifetime once PostgreSQL has its newest version; that of a hold has none."""
    return f"{record_prefix(partition_named_by(booking_id))}{booking_id}"


def unpersisted_key(partition: int) -> str:
    """The bookings whose newest version is not yet in PostgreSQL, by time."""
    return f"{{p{partition}}}:unpersisted"


def due_key(event_id: UUID) -> str:
    """The holds of an event by their deadline."""
    return f"{{p{partition_of_event(event_id)}}}:due:{event_id}"


def dues_key(partition: int) -> str:
    """The events of a partition that have holds, by their first deadline. It may be behind; a sweep corrects it."""
    return f"{{p{partition}}}:dues"


def counters_prefix(partition: int) -> str:
    """The prefix of `counters_key`; an event's id follows."""
    return f"{{p{partition}}}:counters:"


def doorbell_key(partition: int) -> str:
    """The wake-up flag: set from the time a worker is woken until it has emptied the unpersisted set."""
    return f"{{p{partition}}}:doorbell"


def mine_key(partition: int, user_id: UUID) -> str:
    """The unpersisted bookings of one account in a partition."""
    return f"{{p{partition}}}:mine:{user_id}"


def record_prefix(partition: int) -> str:
    """The prefix of the record keys of a partition; a booking's id follows."""
    return f"{{p{partition}}}:booking:"


def mine_prefix(partition: int) -> str:
    """The prefix of `mine_key`; an account's id follows."""
    return f"{{p{partition}}}:mine:"


def lease_key(partition: int) -> str:
    """The lease of the worker that persists a partition now."""
    return f"{{p{partition}}}:lease"


def partition_named_by(booking_id: UUID) -> int:
    """The partition in a booking's id; raises ValueError for an id that no booking can have."""
    partition = partition_of_booking(booking_id)
    if partition is None:
        message = f"{booking_id} is no booking id"
        raise ValueError(message)
    return partition


def booking_keys(partition: int, booking_id: str, event_id: str, user_id: str) -> list[str]:
    """All keys of a booking, in the order of the scripts that change bookings.

    Ids are passed as text, converted once.
    """
    tag = f"{{p{partition}}}"
    return [
        f"{tag}:epoch",
        f"{tag}:counters:{event_id}",
        f"{tag}:booking:{booking_id}",
        f"{tag}:unpersisted",
        f"{tag}:doorbell",
        f"{tag}:mine:{user_id}",
    ]
