#!lua
-- Refill the counters of a closed event that is opened again, in steps. The terms come last: without them nothing is
-- sold. The field `reopening` names the opening that began last; an earlier one changes nothing any more. Safe to
-- repeat.
--
-- KEYS  epoch, counters
-- ARGV  step ('begin', 'fill' or 'finish'), terms_token, left_token (terms that an earlier attempt left and that may be
--       replaced, '' for none), then field, value
-- RETURN {'refilled'}, {'stale'}, {'fenced'}
local FIRST_FIELD = 4

if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end
local found = redis.call('HMGET', KEYS[2], 'terms', 'reopening')
if found[1] == ARGV[2] then return {'refilled'} end
if found[1] and found[1] ~= ARGV[3] then return {'stale'} end
if ARGV[1] ~= 'begin' and found[2] ~= ARGV[2] then return {'stale'} end

if ARGV[1] == 'begin' then
  redis.call('UNLINK', KEYS[2])
  -- The number of corrections starts at a value that no earlier reading has seen, so that no earlier repair applies.
  redis.call('HSET', KEYS[2], 'reopening', ARGV[2], 'mends', redis_ms())
end
if #ARGV >= FIRST_FIELD then redis.call('HSET', KEYS[2], unpack(ARGV, FIRST_FIELD)) end
if ARGV[1] == 'finish' then
  redis.call('HDEL', KEYS[2], 'reopening')
  redis.call('HSET', KEYS[2], 'terms', ARGV[2])
end
return {'refilled'}
