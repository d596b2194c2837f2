#!lua flags=no-writes
-- Read a page of an event's counters as of one instant.
--
-- KEYS  epoch, counters
-- ARGV  cursor, page_size
-- RETURN {'counted', now_ms, next_cursor, {field, value…}}, {'fenced'}
if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end -- protection: epoch_in_redis
local page = redis.call('HSCAN', KEYS[2], ARGV[1], 'COUNT', ARGV[2])
local time = redis.call('TIME')
return {'counted', time[1] * 1000 + math.floor(time[2] / 1000), page[1], page[2]}
