#!lua flags=allow-oom
-- Restore records of holds from PostgreSQL, with their deadlines, before the terms of their event are in force.
--
-- KEYS  epoch, counters
-- ARGV  attempt, record_prefix, holds (in msgpack, of each: id, due_ms, fields and values of the record)
-- RETURN {'refilled'}, {'kept'} (terms are in force, or another attempt has begun), {'fenced'}
if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end
local found = redis.call('HMGET', KEYS[2], 'terms', 'refilling')
if found[1] or found[2] ~= ARGV[1] then return {'kept'} end
for _, hold in ipairs(cmsgpack.unpack(ARGV[3])) do
  local record = ARGV[2] .. hold[1]
  redis.call('DEL', record)
  redis.call('HSET', record, 'epoch', EPOCH, unpack(hold[3]))
  hold_until(KEYS[2], hold[1], hold[2])
end
return {'refilled'}
