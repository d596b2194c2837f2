#!lua flags=allow-oom
-- Give a partition to one worker for a while, or give it more time to the one that has it.
--
-- KEYS  epoch, lease
-- ARGV  holder, lease_ms
-- RETURN {'taken'}, {'held'}, {'fenced'}
if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end -- protection: epoch_in_redis

local value = redis.call('GET', KEYS[2]) or ARGV[1]
local holder, taken_ms = string.match(value, '^(.*) (%d+)$')
-- One that lasts longer than it was taken for: the clock was set back since, and its holder may be dead.
local lasting = redis.call('PTTL', KEYS[2]) <= (tonumber(taken_ms) or tonumber(ARGV[2]))
if (holder or value) ~= ARGV[1] and lasting then return {'held'} end
redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. ARGV[2], 'PX', ARGV[2])
return {'taken'}
