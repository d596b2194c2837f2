"""Compatibility with the previous release, 0.1.0: this release continues an epoch that the previous one has begun.

The previous release has no anchor and does not record the server with the epoch. When its scripts are missing, it
rebuilds in an epoch for which this release has no scripts. If this release then rebuilt too, both would rebuild in
turns. So this release adopts such an epoch once the rebuild is complete. Remove this file and its uses in the next
release.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.store.redis.fence import LAYOUT, sha1_of

if TYPE_CHECKING:
    from domain.store.redis.fence import EpochRecord
    from domain.store.redis.server import Server

COMMIT = "bc33771"
"""The commit of the previous release; the tests start it from there."""

ITS_LAYOUT = 1

PULSE = """\
#!lua flags=no-writes
local EPOCH = '{epoch}'
-- Say whether a partition sells in this epoch, and what waits to be persisted.
--
-- KEYS  epoch, unpersisted
-- ARGV  none
-- RETURN {{'beating', unpersisted_count, oldest_age_ms}}, {{'fenced'}}
if redis.call('GET', KEYS[1]) ~= EPOCH then return {{'fenced'}} end -- protection: epoch_in_redis
local oldest = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if not oldest[2] then return {{'beating', 0, 0}} end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
return {{'beating', redis.call('ZCARD', KEYS[2]), now_ms - tonumber(oldest[2])}}
"""
"""The pulse.lua of the previous release, which its rebuild loads last."""


def pulse_sha1(epoch: int) -> str:
    """The SHA-1 of that script in an epoch."""
    return sha1_of(PULSE.format(epoch=epoch))


def may_adopt(record: EpochRecord, server: Server) -> bool:
    """Whether an epoch of the previous release may be adopted on this server, if its last script is loaded there.

    An old primary that is promoted again still has scripts of that release, which do not notice the promotion. The
    scripts belong to the server's present time as primary if the server is the one that was recorded for an earlier
    epoch, or if it was never promoted. (A server without replicas forgets after an hour that it was promoted.)
    """
    return record.layout == LAYOUT == ITS_LAYOUT and (record.last_server == server.id or not server.promoted)
