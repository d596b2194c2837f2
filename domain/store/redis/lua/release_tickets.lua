#!lua flags=allow-oom
-- Return a booking's claims, once, and list the change as unpersisted. Safe to repeat: for a booking that holds nothing
-- any more the answer is its record. Counters that are not refilled yet return nothing: they would be counted twice.
--
-- KEYS  epoch, counters, record, unpersisted, doorbell, mine
-- ARGV  booking_id, to_status ('cancelled' or 'rejected'), reason ('' for none),
--       version ('' for any), terms_token ('' for any), deadline_ms (0 for none), doorbell_ms
-- RETURN {'released', ring, record…}, {'known', 0, record…}, {'unknown'}, {'changed'}, {'stale'},
--        {'late'}, {'uninstalled'}, {'fenced'}
if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end

local record = redis.call('HMGET', KEYS[3], 'epoch', 'status', 'version', 'claims', 'created_ms')
if record[1] ~= EPOCH then return {'unknown'} end
local holds = record[2] == 'pending' or record[2] == 'confirmed'
if not holds then return {'known', 0, redis.call('HGETALL', KEYS[3])} end
if ARGV[4] ~= '' and ARGV[4] ~= record[3] then return {'changed'} end
local event = redis.call('HMGET', KEYS[2], 'terms', 'clock')
if not event[1] then return {'uninstalled'} end
if ARGV[5] ~= '' and ARGV[5] ~= event[1] then return {'stale'} end

local now_ms = no_earlier(no_earlier(redis_ms(), event[2]), record[5])
if ARGV[6] ~= '0' and now_ms >= tonumber(ARGV[6]) then
  -- The time is recorded, so that the deadline stays passed when the clock is set back.
  if tonumber(event[2] or 0) < tonumber(ARGV[6]) then redis.call('HSET', KEYS[2], 'clock', now_ms) end
  return {'late'}
end

for counter, quantity in string.gmatch(record[4], '(%S+)=(%d+)') do
  redis.call('HINCRBY', KEYS[2], counter, -tonumber(quantity))
end
redis.call('HSET', KEYS[2], 'clock', now_ms)
redis.call('HSET', KEYS[3], 'status', ARGV[2], 'version', record[3] + 1)
if ARGV[2] == 'cancelled' then redis.call('HSET', KEYS[3], 'cancelled_ms', now_ms) end
if ARGV[3] ~= '' then redis.call('HSET', KEYS[3], 'reason', ARGV[3]) end
redis.call('PERSIST', KEYS[3])
redis.call('ZADD', KEYS[4], now_ms, ARGV[1])
redis.call('SADD', KEYS[6], ARGV[1])
local ring = redis.call('SET', KEYS[5], 1, 'NX', 'PX', ARGV[7]) and 1 or 0
return {'released', ring, redis.call('HGETALL', KEYS[3])}
