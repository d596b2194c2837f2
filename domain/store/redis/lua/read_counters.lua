#!lua flags=no-writes
-- Read a page of an event's counters at one instant.
--
-- KEYS  epoch, counters
-- ARGV  cursor, page_size
-- RETURN {'counted', at_ms (the event's time), next_cursor, {field, value…}, ahead_ms (how far Redis' clock is behind
--        the event's time, 0 when it is not behind)}, {'fenced'}
if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end
local page = redis.call('HSCAN', KEYS[2], ARGV[1], 'COUNT', ARGV[2])
local now_ms = redis_ms()
local at_ms = no_earlier(now_ms, redis.call('HGET', KEYS[2], 'clock'))
return {'counted', at_ms, page[1], page[2], at_ms - now_ms}
