#!lua flags=allow-oom
-- Give a worker the lease of a partition, or extend the lease of the worker that has it.
--
-- KEYS  epoch, lease
-- ARGV  holder, lease_ms
-- RETURN {'taken'}, {'held'}, {'fenced'}
if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end

local value = redis.call('GET', KEYS[2]) or ARGV[1]
local holder, taken_ms = string.match(value, '^(.*) (%d+)$')
-- If more time is left than the lease was taken for, the clock was set back, and the holder may be dead.
local lasting = redis.call('PTTL', KEYS[2]) <= (tonumber(taken_ms) or tonumber(ARGV[2]))
if (holder or value) ~= ARGV[1] and lasting then return {'held'} end
redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. ARGV[2], 'PX', ARGV[2])
return {'taken'}
