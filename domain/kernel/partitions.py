"""The partition of an event, and booking ids that contain their partition."""

from __future__ import annotations

import hashlib
import os
import zlib
from uuid import UUID

PARTITIONS = 16
"""The number of partitions that events are distributed over; fixed for the life of a deployment.

Enough for a Redis Cluster of sixteen masters, and few enough that one worker sweeps all of them in one round trip.
Booking ids hold the partition in one byte, so 256 is the upper limit.
"""

ID_BYTES = 16
PARTITION_BYTE = 15
"""The last byte of a booking id is its partition."""

KEY_BYTES = 10
"""The first bytes of a booking id depend on account and key alone.

The bytes between them and the partition depend on the event too, so bookings of two events never share an id. 74 of
these bits are free: the chance that two of a thousand million bookings collide is 1 in 40,000.
"""


def partition_of_event(event_id: UUID) -> int:
    """The partition of an event: a hash of its id, which is the same on every machine."""
    return zlib.crc32(event_id.bytes) % PARTITIONS


def partition_of_booking(booking_id: UUID) -> int | None:
    """The partition in a booking id, or None when no booking can have that id.

    Computed from the id's number, because every poll asks and the properties of UUID are slow.
    """
    number = booking_id.int
    partition = number & _PARTITION_MASK
    return partition if partition < PARTITIONS and number & _VERSION_MASK == _VERSION_BITS else None


def booking_id_for_key(*, account_id: UUID, idempotency_key: str, event_id: UUID) -> UUID:
    """The id of the booking for this account and idempotency key. It is always the same, also after a failure."""
    key = hashlib.blake2b(account_id.bytes + idempotency_key.encode(), digest_size=KEY_BYTES).digest()
    rest = hashlib.blake2b(key + event_id.bytes, digest_size=ID_BYTES - KEY_BYTES).digest()
    return _booking_id(key + rest, partition_of_event(event_id))


def random_booking_id(event_id: UUID) -> UUID:
    """An id for a booking made without an idempotency key."""
    return _booking_id(os.urandom(ID_BYTES), partition_of_event(event_id))


def key_part(booking_id: UUID) -> bytes:
    """The bytes of an id that depend on account and key, not on the event."""
    return booking_id.bytes[:KEY_BYTES]


_UUID_VERSION = 8
"""RFC 9562: version 8 is for ids whose bits the application defines."""

_PARTITION_MASK = 0xFF
_VERSION_MASK = 0xF << 76 | 0x3 << 62
_VERSION_BITS = _UUID_VERSION << 76 | 0x2 << 62
"""The bits of version and variant in the number of an id (RFC 9562, 4)."""


def _booking_id(noise: bytes, partition: int) -> UUID:
    raw = bytearray(noise)
    raw[6] = _UUID_VERSION << 4 | raw[6] & 0x0F
    raw[8] = 0x80 | raw[8] & 0x3F
    raw[PARTITION_BYTE] = partition
    return UUID(bytes=bytes(raw))
