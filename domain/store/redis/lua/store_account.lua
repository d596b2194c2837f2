#!lua flags=allow-oom
-- Store the state of an account and its sessions from PostgreSQL. The token epoch never decreases, and a session that
-- is over never lives again. A reading that is too old is not stored, because the state may have changed since. The
-- hash of an account is bounded: when it has too many sessions, it is emptied, and readings from before that are not
-- stored either. The next request reads PostgreSQL again.
--
-- KEYS  account
-- ARGV  token_epoch, lifetime_ms, read_ms (Redis' clock before PostgreSQL was read; 0 for a change that
--       was committed just now), read_age_max_ms, then session_id, state ('lives' or 'over') of each
-- RETURN {'kept'}, {'expired', now_ms}, {'fenced'}
local FIRST_SESSION = 5
local FIELDS_MAX = 64

local known = redis.call('HMGET', KEYS[1], 'epoch', 'token_epoch', 'forgot_ms')
if known[1] and tonumber(known[1]) > tonumber(EPOCH) then return {'fenced'} end

local now_ms = redis_ms()
local read_ms, forgot_ms = tonumber(ARGV[3]), tonumber(known[3] or '0')
-- If forgot_ms is in the future, the clock was set back, and forgot_ms does not count.
local forgotten = read_ms <= forgot_ms and forgot_ms <= now_ms
-- A negative age also means that the clock was set back, so that the true age is unknown.
local age_ms = now_ms - read_ms
if read_ms > 0 and (forgotten or age_ms < 0 or age_ms > tonumber(ARGV[4])) then return {'expired', now_ms} end

if redis.call('HLEN', KEYS[1]) > FIELDS_MAX then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'forgot_ms', now_ms)
elseif known[1] and known[1] ~= EPOCH then
  -- A session that lived in an older epoch may have ended without this Redis being told.
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if redis.call('HGET', KEYS[1], field) == 'lives' then redis.call('HDEL', KEYS[1], field) end
  end
end
redis.call('HSET', KEYS[1], 'epoch', EPOCH, 'token_epoch', math.max(tonumber(known[2] or '0'), tonumber(ARGV[1])))
for i = FIRST_SESSION, #ARGV, 2 do
  local field = 'session:' .. ARGV[i]
  if redis.call('HGET', KEYS[1], field) ~= 'over' then redis.call('HSET', KEYS[1], field, ARGV[i + 1]) end
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {'kept'}
