#!lua flags=no-writes
-- Check that partitions sell in this epoch, and measure their unpersisted changes.
--
-- KEYS  epoch, unpersisted, dues of each partition
-- ARGV  none
-- RETURN {'beating', then of each partition: unpersisted_count, oldest_age_ms (negative: the clock was set back since),
--        due (1: the deadline of a hold has passed)}, {'fenced'}
local now_ms, measured = redis_ms(), {}
for i = 1, #KEYS, 3 do
  if redis.call('GET', KEYS[i]) ~= EPOCH then return {'fenced'} end
  local oldest = redis.call('ZRANGE', KEYS[i + 1], 0, 0, 'WITHSCORES')
  local first = redis.call('ZRANGE', KEYS[i + 2], 0, 0, 'WITHSCORES')
  measured[#measured + 1] = oldest[2] and redis.call('ZCARD', KEYS[i + 1]) or 0
  measured[#measured + 1] = oldest[2] and now_ms - tonumber(oldest[2]) or 0
  measured[#measured + 1] = first[2] and tonumber(first[2]) <= now_ms and 1 or 0
end
return {'beating', unpack(measured)}
