#!lua flags=allow-oom
-- Move the deadline of a hold, and list the change as unpersisted, while the event is on sale. The deadline never moves
-- back nor beyond the cap. For a booking that is no hold any more the answer is its record.
--
-- KEYS  epoch, counters, record, unpersisted, doorbell, mine
-- ARGV  booking_id, terms_token, opens_ms, closes_ms, hold_ms (from now), cap_ms (from its creation), doorbell_ms
-- RETURN {'extended', ring, record…}, {'known', 0, record…}, {'unknown'}, {'stale'}, {'closed', now_ms},
--        {'capped', due_ms}, {'over', now_ms} (the deadline has passed), {'uninstalled'}, {'fenced'}
if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end

local record = redis.call('HMGET', KEYS[3], 'epoch', 'status', 'version', 'created_ms', 'due_ms')
if record[1] ~= EPOCH then return {'unknown'} end
if record[2] ~= 'held' then return {'known', 0, redis.call('HGETALL', KEYS[3])} end
local event = redis.call('HMGET', KEYS[2], 'terms', 'clock')
if not event[1] then return {'uninstalled'} end
if event[1] ~= ARGV[2] then return {'stale'} end

local now_ms = no_earlier(no_earlier(redis_ms(), event[2]), record[4])
local due_ms = math.min(now_ms + ARGV[5], record[4] + ARGV[6])
if now_ms >= tonumber(record[5]) then return {'over', now_ms} end
if now_ms < tonumber(ARGV[3]) or now_ms >= tonumber(ARGV[4]) then return {'closed', now_ms} end
if due_ms <= tonumber(record[5]) then return {'capped', tonumber(record[5])} end

redis.call('HSET', KEYS[3], 'due_ms', due_ms, 'version', record[3] + 1)
redis.call('HSET', KEYS[2], 'clock', now_ms)
redis.call('PERSIST', KEYS[3])
hold_until(KEYS[2], ARGV[1], due_ms)
list_unpersisted(KEYS[4], KEYS[6], ARGV[1], now_ms)
local ring = redis.call('SET', KEYS[5], 1, 'NX', 'PX', ARGV[7]) and 1 or 0
return {'extended', ring, redis.call('HGETALL', KEYS[3])}
