#!lua flags=allow-oom
-- Replace an event's counters with the counts from PostgreSQL, in chunks, while nothing is sold. The latest time that
-- the event has recorded stays. A rebuilder whose epoch is over changes nothing.
--
-- KEYS  epoch, counters
-- ARGV  chunk ('first' empties the counters), then field, value
-- RETURN {'refilled'}, {'fenced'}
local FIRST_FIELD = 2

if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end
if ARGV[1] == 'first' then
  local clock = redis.call('HGET', KEYS[2], 'clock')
  redis.call('DEL', KEYS[2])
  if clock then redis.call('HSET', KEYS[2], 'clock', clock) end
end
redis.call('HSET', KEYS[2], unpack(ARGV, FIRST_FIELD))
return {'refilled'}
