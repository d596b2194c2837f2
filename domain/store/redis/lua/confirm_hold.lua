#!lua flags=allow-oom
-- Confirm a hold, and list the change as unpersisted. After its deadline, or when it has expired, its claims are taken
-- again if all of them are free and the event is on sale; otherwise it is expired. Safe to repeat: for a booking that is
-- no hold any more the answer is its record.
--
-- KEYS  epoch, counters, record, unpersisted, doorbell, mine
-- ARGV  booking_id, version (as it was read), returned (claims that end with the hold), terms_token, opens_ms, closes_ms,
--       pass ('' for none), doorbell_ms, counts (the number of claims), then counter, quantity, size of each claim kept
-- RETURN {'confirmed', ring, record…}, {'known', 0, record…}, {'unknown'}, {'changed'}, {'stale'}, {'closed', now_ms},
--        {'short', claim_index, remaining, now_ms}, {'gated', claim_index}, {'uninstalled'}, {'fenced'}
local FIRST_CLAIM = 10
if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end

local record = redis.call('HMGET', KEYS[3], 'epoch', 'status', 'version', 'claims', 'created_ms', 'due_ms')
if record[1] ~= EPOCH then return {'unknown'} end
local held = record[2] == 'held'
if not held and record[2] ~= 'expired' then return {'known', 0, redis.call('HGETALL', KEYS[3])} end
if record[3] ~= ARGV[2] then return {'changed'} end

local names, claims = {'terms', 'clock', 'gates'}, {}
for i = FIRST_CLAIM, #ARGV, 3 do
  names[#names + 1] = ARGV[i]
  claims[#claims + 1] = ARGV[i] .. '=' .. ARGV[i + 1]
end
local event = redis.call('HMGET', KEYS[2], unpack(names))
if not event[1] then return {'uninstalled'} end
local now_ms = no_earlier(no_earlier(redis_ms(), event[2]), record[5])
local late, version = not held or now_ms >= tonumber(record[6]), tonumber(record[3])
if late and event[1] ~= ARGV[4] then return {'stale'} end
if late and held then
  expire_due(KEYS[2], KEYS[4], now_ms, EXPIRE_MAX)
  if redis.call('HGET', KEYS[3], 'status') == 'held' then return {'changed'} end
  event, version = redis.call('HMGET', KEYS[2], unpack(names)), version + 1
end
if late and (now_ms < tonumber(ARGV[5]) or now_ms >= tonumber(ARGV[6])) then return {'closed', now_ms} end
if late then
  local list, first, left = choose_claims(ARGV, FIRST_CLAIM, ARGV[9], event, 4, event[3], ARGV[7])
  local index = not list and (first - FIRST_CLAIM) / 3
  if not list and not left then return {'gated', index} end
  if not list then return {'short', index, left, now_ms} end
  for i = FIRST_CLAIM, #ARGV, 3 do redis.call('HINCRBY', KEYS[2], ARGV[i], ARGV[i + 1]) end
  redis.call('HSET', KEYS[3], 'taken_ms', now_ms)
  redis.call('HDEL', KEYS[3], 'cancelled_ms')
else
  give_back(KEYS[2], ARGV[3])
end
redis.call('HSET', KEYS[2], 'clock', now_ms)
redis.call('HSET', KEYS[3], 'status', 'pending', 'version', version + 1, 'claims', table.concat(claims, ' '))
redis.call('PERSIST', KEYS[3])
end_hold(KEYS[2], ARGV[1])
list_unpersisted(KEYS[4], KEYS[6], ARGV[1], now_ms)
local ring = redis.call('SET', KEYS[5], 1, 'NX', 'PX', ARGV[8]) and 1 or 0
return {'confirmed', ring, redis.call('HGETALL', KEYS[3])}
