#!lua flags=allow-oom
-- Return a booking's claims, once, and list the change as unpersisted. Safe to repeat: for a booking that holds nothing
-- any more the answer is its record. Counters that are not refilled yet return nothing: they would be counted twice. A
-- hold whose deadline has passed expires instead; other deadlines are not for holds.
--
-- KEYS  epoch, counters, record, unpersisted, doorbell, mine
-- ARGV  booking_id, to_status ('cancelled' or 'rejected'), from_states (in which it holds claims), reason ('' for none),
--       version ('' for any), terms_token ('' for any), deadline_ms (0 for none), doorbell_ms
-- RETURN {'released', ring, record…}, {'known', 0, record…}, {'unknown'}, {'changed'}, {'stale'},
--        {'late'}, {'uninstalled'}, {'fenced'}
if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end

local record = redis.call('HMGET', KEYS[3], 'epoch', 'status', 'version', 'claims', 'created_ms', 'due_ms')
if record[1] ~= EPOCH then return {'unknown'} end
local holds, held = string.find(ARGV[3], record[2], 1, true), record[2] == 'held'
if not holds then return {'known', 0, redis.call('HGETALL', KEYS[3])} end
if ARGV[5] ~= '' and ARGV[5] ~= record[3] then return {'changed'} end
local event = redis.call('HMGET', KEYS[2], 'terms', 'clock')
if not event[1] then return {'uninstalled'} end
if ARGV[6] ~= '' and ARGV[6] ~= event[1] then return {'stale'} end

local now_ms = no_earlier(no_earlier(redis_ms(), event[2]), record[5])
if not held and ARGV[7] ~= '0' and now_ms >= tonumber(ARGV[7]) then
  -- The time is recorded, so that the deadline stays passed when the clock is set back.
  if tonumber(event[2] or 0) < tonumber(ARGV[7]) then redis.call('HSET', KEYS[2], 'clock', now_ms) end
  return {'late'}
end

local status = held and ARGV[2] == 'cancelled' and now_ms >= tonumber(record[6]) and 'expired' or ARGV[2]
give_back(KEYS[2], record[4])
redis.call('HSET', KEYS[2], 'clock', now_ms)
redis.call('HSET', KEYS[3], 'status', status, 'version', record[3] + 1)
if status ~= 'rejected' then redis.call('HSET', KEYS[3], 'cancelled_ms', now_ms) end
if ARGV[4] ~= '' and status == ARGV[2] then redis.call('HSET', KEYS[3], 'reason', ARGV[4]) end
redis.call('PERSIST', KEYS[3])
if held then end_hold(KEYS[2], ARGV[1]) end
list_unpersisted(KEYS[4], KEYS[6], ARGV[1], now_ms)
local ring = redis.call('SET', KEYS[5], 1, 'NX', 'PX', ARGV[8]) and 1 or 0
return {'released', ring, redis.call('HGETALL', KEYS[3])}
