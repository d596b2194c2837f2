#!lua flags=allow-oom
-- Check that a session is alive and that its account may make one more request, and count the request. An idempotency
-- key of an account is bound to the first request body that came with it.
--
-- KEYS  account, limit, key (only with a fingerprint)
-- ARGV  session_id, token_epoch, interval_us (0: no limit), period_us, fingerprint, key_ms
-- RETURN {'admitted', remaining, reset_ms}, {'mismatch', remaining, reset_ms},
--        {'limited', retry_ms, reset_ms}, {'revoked'}, {'unknown', now_ms}, {'fenced'}
local now_us = redis_us()

local account = redis.call('HMGET', KEYS[1], 'epoch', 'token_epoch', 'session:' .. ARGV[1])
if account[1] and tonumber(account[1]) > tonumber(EPOCH) then return {'fenced'} end
local unknown = {'unknown', math.floor(now_us / 1000)}
if account[1] ~= EPOCH then return unknown end
if account[3] == 'over' or tonumber(ARGV[2]) < tonumber(account[2]) then return {'revoked'} end
if not account[3] or tonumber(ARGV[2]) > tonumber(account[2]) then return unknown end

local interval_us, period_us = tonumber(ARGV[3]), tonumber(ARGV[4])
local remaining, reset_ms = 0, 0
if interval_us > 0 then
  local last_us = tonumber(redis.call('GET', KEYS[2]) or '0')
  -- No request sets a time this far ahead: the clock was set back, and the earlier count is void.
  if last_us > now_us + period_us then last_us = 0 end
  local arrival_us = math.max(last_us, now_us) + interval_us
  reset_ms = math.ceil((arrival_us - now_us) / 1000)
  if arrival_us - period_us > now_us then
    return {'limited', math.ceil((arrival_us - period_us - now_us) / 1000), reset_ms - math.floor(interval_us / 1000)}
  end
  remaining = math.floor((period_us - (arrival_us - now_us)) / interval_us)
  -- The count is not worth a sync of the append-only file: a restart of Redis loses only the counts.
  redis.set_repl(redis.REPL_NONE)
  redis.call('SET', KEYS[2], string.format('%.0f', arrival_us), 'PX', reset_ms)
  redis.set_repl(redis.REPL_ALL)
end

if KEYS[3] and not redis.call('SET', KEYS[3], ARGV[5], 'NX', 'PX', ARGV[6])
    and redis.call('GET', KEYS[3]) ~= ARGV[5] then
  return {'mismatch', remaining, reset_ms}
end
return {'admitted', remaining, reset_ms}
