"""The release before this one, 0.1.0: how this one goes on selling in an epoch that the other has begun.

It knows no anchor and records no server with the epoch. When its scripts are missing it rebuilds, under an epoch of
which this release has nothing. Rebuilding again would make both rebuild by turns; so this release adopts such an epoch
once the other's rebuild is complete. Remove this file, and what asks it, in the release after this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.store.redis.fence import LAYOUT, sha1_of

if TYPE_CHECKING:
    from domain.store.redis.fence import EpochRecord
    from domain.store.redis.server import Server

COMMIT = "bc33771"
"""Where its code stands; the tests start it from there."""

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
"""Its pulse.lua, the script that its rebuild loads last."""


def pulse_sha1(epoch: int) -> str:
    """The name of its last script in an epoch; the script takes the keys of pulse.lua and answers as that does."""
    return sha1_of(PULSE.format(epoch=epoch))


def may_adopt(record: EpochRecord, server: Server) -> bool:
    """Whether an epoch of the other release may be gone on with on this server, if its last script is there.

    Scripts of that release are left over on an old primary that was promoted again, and do not notice. They were
    loaded in the time of this primary if it is still the one that was recorded for an earlier epoch, or if it was
    never promoted. (A server without replicas forgets after an hour that it was promoted.)
    """
    return record.layout == LAYOUT == ITS_LAYOUT and (record.last_server == server.id or not server.promoted)
