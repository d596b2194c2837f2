"""Which partition an event belongs to, and the booking ids that remember it."""

from __future__ import annotations

import hashlib
import os
import zlib
from uuid import UUID

PARTITIONS = 16
"""Partitions events are spread over; fixed for the life of a deployment.

Enough for a Redis Cluster of sixteen masters, few enough that one worker sweeps all of them in one
round trip. Booking ids carry the number in one byte, so 256 is the most there could ever be.
"""

ID_BYTES = 16
PARTITION_BYTE = 15
"""The last byte of a booking id is its partition."""

KEY_BYTES = 10
"""The first bytes of a booking id follow from account and key alone; those between them and the partition
from the event too, so that no two events' bookings ever share an id.

74 of these bits are free: among a thousand million bookings two meet with a chance of 1 in 40,000.
"""


def partition_of_event(event_id: UUID) -> int:
    """The partition of an event: a hash of its id, the same on every machine."""
    return zlib.crc32(event_id.bytes) % PARTITIONS


def partition_of_booking(booking_id: UUID) -> int | None:
    """The partition a booking id names, or None when no booking can have that id."""
    partition = booking_id.bytes[PARTITION_BYTE]
    return partition if partition < PARTITIONS and booking_id.version == _UUID_VERSION else None


def booking_id_for_key(*, account_id: UUID, idempotency_key: str, event_id: UUID) -> UUID:
    """The id of the booking that this account's idempotency key names, today and after any failure."""
    key = hashlib.blake2b(account_id.bytes + idempotency_key.encode(), digest_size=KEY_BYTES).digest()
    rest = hashlib.blake2b(key + event_id.bytes, digest_size=ID_BYTES - KEY_BYTES).digest()
    return _booking_id(key + rest, partition_of_event(event_id))


def random_booking_id(event_id: UUID) -> UUID:
    """An id for a booking made without an idempotency key."""
    return _booking_id(os.urandom(ID_BYTES), partition_of_event(event_id))


def key_part(booking_id: UUID) -> bytes:
    """The bytes of an id that follow from account and key alone, whatever the event is."""
    return booking_id.bytes[:KEY_BYTES]


_UUID_VERSION = 8
"""RFC 9562: version 8 is for ids whose bits the application defines."""


def _booking_id(noise: bytes, partition: int) -> UUID:
    raw = bytearray(noise)
    raw[6] = _UUID_VERSION << 4 | raw[6] & 0x0F
    raw[8] = 0x80 | raw[8] & 0x3F
    raw[PARTITION_BYTE] = partition
    return UUID(bytes=bytes(raw))
