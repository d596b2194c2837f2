#!lua flags=allow-oom
-- Correct a counter by the difference that two readings found, unless it was corrected since or the clock was set. The
-- counter changes by a difference, not to a value, so that bookings in between stay counted.
--
-- KEYS  epoch, counters
-- ARGV  counter, by, mends (the number of corrections of the event's counters when they were read),
--       read_ms (Redis' clock after they were read), read_age_max_ms
-- RETURN {'mended', value}, {'overtaken'}, {'fenced'}
if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end
if (redis.call('HGET', KEYS[2], 'mends') or '0') ~= ARGV[3] then return {'overtaken'} end
-- A reading that is too old is not used; with a negative age, the clock was set back.
local age_ms = redis_ms() - tonumber(ARGV[4])
if age_ms < 0 or age_ms > tonumber(ARGV[5]) then return {'overtaken'} end
local value = redis.call('HINCRBY', KEYS[2], ARGV[1], ARGV[2])
redis.call('HINCRBY', KEYS[2], 'mends', 1)
return {'mended', value}
