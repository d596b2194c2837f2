#!lua flags=allow-oom
-- Count one anonymous request, if the limit is not reached.
--
-- KEYS  limit
-- ARGV  interval_us, period_us
-- RETURN {'admitted', remaining, reset_ms}, {'limited', retry_ms, reset_ms}, {'fenced'}
local now_us = redis_us()
local interval_us, period_us = tonumber(ARGV[1]), tonumber(ARGV[2])

local last_us = tonumber(redis.call('GET', KEYS[1]) or '0')
-- No request sets a time this far ahead: the clock was set back, and the earlier count is void.
if last_us > now_us + period_us then last_us = 0 end
local arrival_us = math.max(last_us, now_us) + interval_us
local reset_ms = math.ceil((arrival_us - now_us) / 1000)
if arrival_us - period_us > now_us then
  return {'limited', math.ceil((arrival_us - period_us - now_us) / 1000), reset_ms - math.floor(interval_us / 1000)}
end
redis.call('SET', KEYS[1], string.format('%.0f', arrival_us), 'PX', reset_ms)
return {'admitted', math.floor((period_us - (arrival_us - now_us)) / interval_us), reset_ms}
