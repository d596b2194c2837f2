"""The job queue: arq jobs that wake a worker for a partition with unpersisted bookings.

A wake-up may be lost at any time, because workers also sweep the unpersisted sets several times a second. So the queue
fails open: if it cannot be reached, a booking is delayed by at most a second.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgpack
from arq import ArqRedis
from arq.constants import expires_extra_ms, job_key_prefix
from arq.jobs import serialize_job
from arq.utils import timestamp_ms
from redis.asyncio import BlockingConnectionPool
from redis.exceptions import ReadOnlyError, RedisError

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

QUEUE_NAME = "onsale:jobs"
PERSIST_JOB = "persist_partition"
CLEAR_JOB = "clear_event"

QUEUED = "onsale:queued"
"""The channel on which idle workers hear that a job was queued, so that they need not ask all the time."""

CLEAR_SLOT_S = 4
"""How soon the clearing of an event starts again after its worker was killed; longer than a job takes."""

SOCKET_TIMEOUT_S = 2.0
CONNECTIONS_MAX = 5
RINGS_MAX = 64
"""Wake-ups under way at the same time; further ones are dropped and left to the sweep."""


def serialize(job: dict[str, Any]) -> bytes:
    """Encode a job as msgpack, which cannot run code when it is decoded."""
    return bytes(msgpack.packb(job, default=str))


def deserialize(raw: bytes) -> dict[str, Any]:
    """Decode the output of `serialize`."""
    job: dict[str, Any] = msgpack.unpackb(raw, strict_map_key=False)
    return job


def open_queue(url: str) -> ArqRedis:
    """The client of the queue. Unlike arq's own pool, it times out on a server that does not answer."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS_MAX,
        timeout=SOCKET_TIMEOUT_S,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=SOCKET_TIMEOUT_S,
    )
    return ArqRedis(
        connection_pool=pool,
        job_serializer=serialize,
        job_deserializer=deserialize,
        default_queue_name=QUEUE_NAME,
    )


class Doorbell:
    """Sends wake-ups in the background, so that the request of a booking does not wait for the queue."""

    def __init__(self, queue: ArqRedis, *, on_lost: Callable[[], None]) -> None:
        self._queue = queue
        self._on_lost = on_lost
        self._rings: set[asyncio.Task[bool]] = set()

    def ring(self, partition: int) -> None:
        """Wake a worker for a partition with unpersisted bookings."""
        self._start(PERSIST_JOB, partition, job_id=None)

    def ring_to_clear(self, event_id: UUID) -> None:
        """Wake a worker to cancel an event's bookings. There is one job per event and time slot.

        arq reserves the id of a job whose worker was killed for half a minute; the next slot has another id.
        """
        self._start(CLEAR_JOB, str(event_id), job_id=_clearing_id(event_id))

    async def rang_to_clear(self, event_id: UUID) -> bool:
        """Queue the clearing of an event and wait for it; False when the queue did not accept it.

        A queue whose memory is full accepts nothing.
        """
        return await self._enqueue(CLEAR_JOB, str(event_id), job_id=_clearing_id(event_id))

    def _start(self, job: str, argument: int | str, *, job_id: str | None) -> None:
        if len(self._rings) >= RINGS_MAX:
            self._on_lost()
            return
        ring = asyncio.create_task(self._enqueue(job, argument, job_id=job_id))
        self._rings.add(ring)
        ring.add_done_callback(self._rings.discard)

    async def close(self) -> None:
        """Wait for the wake-ups under way, and close the connections."""
        await asyncio.gather(*self._rings, return_exceptions=True)
        await self._queue.aclose(close_connection_pool=True)

    async def _enqueue(self, job: str, argument: int | str, *, job_id: str | None) -> bool:
        try:
            await _enqueue(self._queue, job, argument, job_id=job_id)
        except ReadOnlyError:
            # The server has become a replica; new connections may lead to the new primary.
            await self._queue.connection_pool.disconnect(inuse_connections=False)
            self._on_lost()
            return False
        except (RedisError, OSError):
            self._on_lost()
            return False
        return True


async def _enqueue(queue: ArqRedis, job: str, argument: int | str, *, job_id: str | None) -> None:
    """Queue a job unless there is one of this id, and tell the workers. Without an id, it takes one round trip.

    Workers also look by themselves, so a server that does not allow the message does no harm.
    """
    async with queue.pipeline(transaction=False) as pipe:
        if job_id is not None:
            await queue.enqueue_job(job, argument, _job_id=job_id)
        else:
            # As arq's `enqueue_job`, which takes two round trips more to find out whether the id is taken.
            job_id, now_ms = uuid4().hex, timestamp_ms()
            queued = serialize_job(job, (argument,), {}, None, now_ms, serializer=serialize)
            pipe.psetex(job_key_prefix + job_id, expires_extra_ms, queued)
            pipe.zadd(QUEUE_NAME, {job_id: now_ms})
        pipe.publish(QUEUED, "")
        *answers, _ = await pipe.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, RedisError):
            raise answer


def _clearing_id(event_id: UUID) -> str:
    slot = int(time.time() // CLEAR_SLOT_S)
    return f"{CLEAR_JOB}:{event_id}:{slot}"
