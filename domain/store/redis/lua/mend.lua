#!lua flags=allow-oom
-- Move a counter by what two readings found it wrong by, unless it was mended since, or the clock was set.
-- It moves by a difference, not to a value, so that traffic in between stays counted.
--
-- KEYS  epoch, counters
-- ARGV  counter, by, mends (how often the event's counters had been mended when they were read),
--       read_ms (Redis' clock when they had been read), read_age_max_ms
-- RETURN {'mended', value}, {'overtaken'}, {'fenced'}
if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end -- protection: epoch_in_redis
if (redis.call('HGET', KEYS[2], 'mends') or '0') ~= ARGV[3] then return {'overtaken'} end
-- Older, or of the future: too long ago, or the clock was set since.
local age_ms = redis_ms() - tonumber(ARGV[4])
if age_ms < 0 or age_ms > tonumber(ARGV[5]) then return {'overtaken'} end
local value = redis.call('HINCRBY', KEYS[2], ARGV[1], ARGV[2])
redis.call('HINCRBY', KEYS[2], 'mends', 1)
return {'mended', value}
