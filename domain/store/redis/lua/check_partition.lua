#!lua flags=no-writes
-- Check that a partition sells in this epoch, and measure its unpersisted changes.
--
-- KEYS  epoch, unpersisted, dues
-- ARGV  none
-- RETURN {'beating', unpersisted_count, oldest_age_ms (negative: the clock was set back since), due (1: the deadline of
--        a hold has passed)}, {'fenced'}
if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end
local oldest = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
local now_ms, first = redis_ms(), redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
local due = first[2] and tonumber(first[2]) <= now_ms and 1 or 0
if not oldest[2] then return {'beating', 0, 0, due} end
return {'beating', redis.call('ZCARD', KEYS[2]), now_ms - tonumber(oldest[2]), due}
