#!lua flags=allow-oom
-- Give back some of a booking's claims, once, and list the change as unpersisted. What is kept names every counter of
-- the booking, if need be with 0 units. Safe to repeat: for a booking of this quantity, or one that holds nothing any
-- more, the answer is its record. The deadline is not for holds, which have their own.
--
-- KEYS  epoch, counters, record, unpersisted, doorbell, mine
-- ARGV  booking_id, version (as it was read), from_states (in which it holds claims), returned (the claims that are
--       given back), kept (the claims from then on), quantity, body ('' for none), terms_token, deadline_ms, doorbell_ms
-- RETURN {'reduced', ring, record…}, {'known', 0, record…}, {'unknown'}, {'changed'}, {'stale'},
--        {'late'}, {'over', now_ms} (the deadline of the hold has passed), {'uninstalled'}, {'fenced'}
if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end

local record = redis.call('HMGET', KEYS[3], 'epoch', 'status', 'version', 'quantity', 'created_ms', 'due_ms')
if record[1] ~= EPOCH then return {'unknown'} end
local holds, held = string.find(ARGV[3], record[2], 1, true), record[2] == 'held'
if holds and record[3] ~= ARGV[2] then return {'changed'} end
if not holds then return {'known', 0, redis.call('HGETALL', KEYS[3])} end
local event = redis.call('HMGET', KEYS[2], 'terms', 'clock')
if not event[1] then return {'uninstalled'} end
if event[1] ~= ARGV[8] then return {'stale'} end

local now_ms = no_earlier(no_earlier(redis_ms(), event[2]), record[5])
if held and now_ms >= tonumber(record[6]) then return {'over', now_ms} end
if record[4] == ARGV[6] then return {'known', 0, redis.call('HGETALL', KEYS[3])} end
if not held and now_ms >= tonumber(ARGV[9]) then
  -- The time is recorded, so that the deadline stays passed when the clock is set back.
  if tonumber(event[2] or 0) < tonumber(ARGV[9]) then redis.call('HSET', KEYS[2], 'clock', now_ms) end
  return {'late'}
end

give_back(KEYS[2], ARGV[4])
redis.call('HSET', KEYS[2], 'clock', now_ms)
-- A repeated order is known by its fingerprint, which was the number of tickets if there is none.
redis.call('HSETNX', KEYS[3], 'fingerprint', record[4])
redis.call('HSET', KEYS[3], 'version', record[3] + 1, 'claims', ARGV[5], 'quantity', ARGV[6], 'taken_ms', now_ms)
if ARGV[7] ~= '' then redis.call('HSET', KEYS[3], 'body', ARGV[7]) end
redis.call('PERSIST', KEYS[3])
list_unpersisted(KEYS[4], KEYS[6], ARGV[1], now_ms)
local ring = redis.call('SET', KEYS[5], 1, 'NX', 'PX', ARGV[10]) and 1 or 0
return {'reduced', ring, redis.call('HGETALL', KEYS[3])}
