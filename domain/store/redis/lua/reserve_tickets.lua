#!lua
-- Take every claim of a booking or none, and list the booking as unpersisted. Safe to repeat: a known booking is
-- returned, not made again. A sale that was found closed stays closed. A claim of no units is never short.
--
-- KEYS  epoch, counters, record, unpersisted, doorbell, mine
-- ARGV  terms_token, opens_ms, closes_ms, lookup ('fresh': if the first counter is known, PostgreSQL must be asked
--       first, 'checked': it was asked), booking_id, event_id, user_id, quantity, fingerprint,
--       unpersisted_max, lag_max_ms, doorbell_ms, then counter, quantity, size of each claim (no counter twice)
-- RETURN {'reserved', created_ms, ring}, {'known', record…}, {'mismatch'}, {'lookup'}, {'stale'},
--        {'closed', now_ms}, {'short', claim_index, remaining, now_ms}, {'lagging'},
--        {'uninstalled'}, {'fenced'}
local FIRST_CLAIM = 13
if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end

local known = redis.call('HMGET', KEYS[3], 'epoch', 'event', 'quantity', 'fingerprint')
if known[1] == EPOCH then
  if known[2] ~= ARGV[6] or (known[4] or known[3]) ~= ARGV[9] then return {'mismatch'} end
  return {'known', redis.call('HGETALL', KEYS[3])}
end

local names = {'terms', 'clock'}
for i = FIRST_CLAIM, #ARGV, 3 do names[#names + 1] = ARGV[i] end
local taken = redis.call('HMGET', KEYS[2], unpack(names))
if not taken[1] then return {'uninstalled'} end
if taken[1] ~= ARGV[1] then return {'stale'} end
if ARGV[4] == 'fresh' and taken[3] then return {'lookup'} end

local time, seen_ms, closes_ms = redis.call('TIME'), tonumber(taken[2] or 0), tonumber(ARGV[3])
local clock_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local now_ms = seen_ms > clock_ms and seen_ms - clock_ms <= HELD_MS_MAX and seen_ms or clock_ms
if now_ms >= closes_ms and seen_ms < closes_ms then redis.call('HSET', KEYS[2], 'clock', now_ms) end
if now_ms < tonumber(ARGV[2]) or now_ms >= closes_ms then return {'closed', now_ms} end

for i = FIRST_CLAIM, #ARGV, 3 do
  local index, claimed = (i - FIRST_CLAIM) / 3, tonumber(ARGV[i + 1])
  local remaining = tonumber(ARGV[i + 2]) - tonumber(taken[index + 3] or '0')
  if claimed > remaining and claimed > 0 then return {'short', index, remaining, now_ms} end
end

if redis.call('ZCARD', KEYS[4]) >= tonumber(ARGV[10]) then return {'lagging'} end
local oldest = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
if oldest[2] and clock_ms - tonumber(oldest[2]) > tonumber(ARGV[11]) then return {'lagging'} end

local claims, sums = {}, {}
for i = FIRST_CLAIM, #ARGV, 3 do
  local index = (i - FIRST_CLAIM) / 3
  claims[index + 1] = ARGV[i] .. '=' .. ARGV[i + 1]
  sums[2 * index + 1] = ARGV[i]
  sums[2 * index + 2] = (taken[index + 3] or 0) + ARGV[i + 1]
end
if now_ms ~= seen_ms then sums[#sums + 1], sums[#sums + 2] = 'clock', now_ms end
redis.call('HSET', KEYS[2], unpack(sums))
if known[1] then redis.call('DEL', KEYS[3]) end
redis.call('HSET', KEYS[3], 'epoch', EPOCH, 'event', ARGV[6], 'user', ARGV[7], 'quantity', ARGV[8],
  'status', 'pending', 'version', 1, 'created_ms', now_ms, 'claims', table.concat(claims, ' '))
if ARGV[9] ~= ARGV[8] then redis.call('HSET', KEYS[3], 'fingerprint', ARGV[9]) end
redis.call('ZADD', KEYS[4], now_ms, ARGV[5])
redis.call('SADD', KEYS[6], ARGV[5])
local ring = redis.call('SET', KEYS[5], 1, 'NX', 'PX', ARGV[12]) and 1 or 0
return {'reserved', now_ms, ring}
