#!lua flags=no-writes
-- Check that a partition sells in this epoch, and measure its unpersisted changes.
--
-- KEYS  epoch, unpersisted
-- ARGV  none
-- RETURN {'beating', unpersisted_count, oldest_age_ms (negative: the clock was set back since)}, {'fenced'}
if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end
local oldest = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if not oldest[2] then return {'beating', 0, 0} end
return {'beating', redis.call('ZCARD', KEYS[2]), redis_ms() - tonumber(oldest[2])}
