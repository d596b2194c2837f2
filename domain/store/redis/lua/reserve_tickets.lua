#!lua
-- Take every claim of one list or none, and list the booking as unpersisted; of several lists, the first that fits. Safe
-- to repeat: a known booking is returned, not made again. A sale that was found closed stays closed. If a counter has
-- too little, holds of the event whose deadline has passed expire first. A claim of no units is never short.
--
-- KEYS  epoch, counters, record, unpersisted, doorbell, mine
-- ARGV  terms_token, opens_ms, closes_ms, lookup ('fresh': if the first counter is known, PostgreSQL must be asked
--       first, 'checked': it was asked), booking_id, event_id, user_id, quantity, fingerprint, unpersisted_max,
--       lag_max_ms, doorbell_ms, hold_ms (0 for no hold), pass ('' for none), body ('' for none),
--       counts (claims of each list), then counter, quantity, size of each claim (no counter twice in a list)
-- RETURN {'reserved', created_ms, ring, due_ms (0 for no hold), list_number}, {'known', now_ms, record…}, {'mismatch'},
--        {'lookup'}, {'stale'}, {'closed', now_ms}, {'short', claim_index, remaining, now_ms}, {'gated', claim_index},
--        {'again'} (some holds expired, and there may be more), {'lagging'}, {'uninstalled'}, {'fenced'}
local FIRST_CLAIM = 17
if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end

local known = redis.call('HMGET', KEYS[3], 'epoch', 'event', 'quantity', 'fingerprint')
if known[1] == EPOCH then
  if known[2] ~= ARGV[6] or (known[4] or known[3]) ~= ARGV[9] then return {'mismatch'} end
  return {'known', redis_ms(), redis.call('HGETALL', KEYS[3])}
end

local names = {'terms', 'clock', 'gates'}
for i = FIRST_CLAIM, #ARGV, 3 do names[#names + 1] = ARGV[i] end
local taken = redis.call('HMGET', KEYS[2], unpack(names))
if not taken[1] then return {'uninstalled'} end
if taken[1] ~= ARGV[1] then return {'stale'} end
if ARGV[4] == 'fresh' and taken[4] then return {'lookup'} end

local time, seen_ms, closes_ms = redis.call('TIME'), tonumber(taken[2] or 0), tonumber(ARGV[3])
local clock_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local now_ms = seen_ms > clock_ms and seen_ms - clock_ms <= HELD_MS_MAX and seen_ms or clock_ms
if now_ms >= closes_ms and seen_ms < closes_ms then redis.call('HSET', KEYS[2], 'clock', now_ms) end
if now_ms < tonumber(ARGV[2]) or now_ms >= closes_ms then return {'closed', now_ms} end

local list, first, last = choose_claims(ARGV, FIRST_CLAIM, ARGV[16], taken, 4, taken[3], ARGV[14])
if not list then
  local expired = expire_due(KEYS[2], KEYS[4], now_ms, EXPIRE_MAX)
  if expired > 0 then
    taken = redis.call('HMGET', KEYS[2], unpack(names))
    list, first, last = choose_claims(ARGV, FIRST_CLAIM, ARGV[16], taken, 4, taken[3], ARGV[14])
  end
  local index = not list and (first - FIRST_CLAIM) / 3
  if not list and expired == EXPIRE_MAX then return {'again'} end
  if not list and not last then return {'gated', index} end
  if not list then return {'short', index, last, now_ms} end
end

if redis.call('ZCARD', KEYS[4]) >= tonumber(ARGV[10]) then return {'lagging'} end
local oldest = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
if oldest[2] and clock_ms - tonumber(oldest[2]) > tonumber(ARGV[11]) then return {'lagging'} end

local claims, sums = {}, {}
for i = first, last, 3 do
  claims[#claims + 1] = ARGV[i] .. '=' .. ARGV[i + 1]
  sums[#sums + 1] = ARGV[i]
  sums[#sums + 1] = (taken[(i - FIRST_CLAIM) / 3 + 4] or 0) + ARGV[i + 1]
end
if now_ms ~= seen_ms then sums[#sums + 1], sums[#sums + 2] = 'clock', now_ms end
redis.call('HSET', KEYS[2], unpack(sums))
local hold_ms = tonumber(ARGV[13])
local due_ms = hold_ms > 0 and now_ms + hold_ms or 0
if known[1] then redis.call('DEL', KEYS[3]) end
redis.call('HSET', KEYS[3], 'epoch', EPOCH, 'event', ARGV[6], 'user', ARGV[7], 'quantity', ARGV[8], 'version', 1,
  'status', due_ms > 0 and 'held' or 'pending', 'created_ms', now_ms, 'claims', table.concat(claims, ' '))
if ARGV[9] ~= ARGV[8] then redis.call('HSET', KEYS[3], 'fingerprint', ARGV[9]) end
if ARGV[15] ~= '' then redis.call('HSET', KEYS[3], 'body', ARGV[15]) end
if due_ms > 0 then
  redis.call('HSET', KEYS[3], 'due_ms', due_ms)
  hold_until(KEYS[2], ARGV[5], due_ms)
end
list_unpersisted(KEYS[4], KEYS[6], ARGV[5], now_ms)
local ring = redis.call('SET', KEYS[5], 1, 'NX', 'PX', ARGV[12]) and 1 or 0
return {'reserved', now_ms, ring, due_ms, list}
