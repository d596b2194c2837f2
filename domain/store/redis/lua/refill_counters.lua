#!lua flags=allow-oom
-- Replace the counters of an event without terms by the counts from PostgreSQL, in chunks. The terms come last: without
-- them nothing of the event changes, and with them nothing is refilled any more. The field `refilling` names the attempt
-- that began last; an earlier one changes nothing. The latest time that the event has recorded stays.
--
-- KEYS  epoch, counters, due
-- ARGV  attempt, chunk ('first' empties the counters), then field, value
-- RETURN {'refilled'}, {'kept'} (terms are in force, or another attempt has begun), {'fenced'}
local FIRST_FIELD = 3

if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end
local found, first = redis.call('HMGET', KEYS[2], 'terms', 'refilling', 'clock'), ARGV[2] == 'first'
if found[1] or not first and found[2] ~= ARGV[1] then return {'kept'} end

if first then redis.call('DEL', KEYS[3]) end
-- Every Redis that restarts, is promoted or is wiped is refilled again: its file and its replicas do not need this.
redis.set_repl(redis.REPL_NONE)
if first then
  redis.call('UNLINK', KEYS[2])
  -- The number of corrections starts at a value that no earlier reading has seen, so that no earlier repair applies.
  redis.call('HSET', KEYS[2], 'refilling', ARGV[1], 'mends', redis_ms())
  if found[3] then redis.call('HSET', KEYS[2], 'clock', found[3]) end
end
redis.call('HSET', KEYS[2], unpack(ARGV, FIRST_FIELD))
if redis.call('HEXISTS', KEYS[2], 'terms') == 1 then redis.call('HDEL', KEYS[2], 'refilling') end
return {'refilled'}
