"""The names of the inventory's keys.

Everything about an event stands in one partition, whose tag Redis Cluster places by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.kernel.partitions import partition_of_booking, partition_of_event

if TYPE_CHECKING:
    from uuid import UUID


def epoch_key(partition: int) -> str:
    """The epoch a partition sells in."""
    return f"{{p{partition}}}:epoch"


def counters_key(event_id: UUID) -> str:
    """What is taken of each of an event's counters, and the terms in force."""
    return f"{{p{partition_of_event(event_id)}}}:counters:{event_id}"


def record_key(booking_id: UUID) -> str:
    """A booking as it stands; it expires only when PostgreSQL has it."""
    return f"{{p{partition_named_by(booking_id)}}}:booking:{booking_id}"


def unpersisted_key(partition: int) -> str:
    """Bookings whose newest version is not yet in PostgreSQL, by time."""
    return f"{{p{partition}}}:unpersisted"


def doorbell_key(partition: int) -> str:
    """There while a worker was told and has not emptied the set."""
    return f"{{p{partition}}}:doorbell"


def mine_key(partition: int, user_id: UUID) -> str:
    """The unpersisted bookings of one account in a partition."""
    return f"{{p{partition}}}:mine:{user_id}"


def record_prefix(partition: int) -> str:
    """What the names of a partition's records begin with; the booking's id follows."""
    return f"{{p{partition}}}:booking:"


def mine_prefix(partition: int) -> str:
    """What the names of `mine_key` begin with; the account's id follows."""
    return f"{{p{partition}}}:mine:"


def lease_key(partition: int) -> str:
    """The worker that persists a partition now."""
    return f"{{p{partition}}}:lease"


def partition_named_by(booking_id: UUID) -> int:
    """The partition that a booking's id names; raises ValueError for what is no booking's id."""
    partition = partition_of_booking(booking_id)
    if partition is None:
        message = f"{booking_id} is no booking id"
        raise ValueError(message)
    return partition


def booking_keys(partition: int, booking_id: str, event_id: str, user_id: str) -> list[str]:
    """Everything a booking touches, in the order that reserve.lua and release.lua take it; ids as text, made once."""
    tag = f"{{p{partition}}}"
    return [
        f"{tag}:epoch",
        f"{tag}:counters:{event_id}",
        f"{tag}:booking:{booking_id}",
        f"{tag}:unpersisted",
        f"{tag}:doorbell",
        f"{tag}:mine:{user_id}",
    ]
