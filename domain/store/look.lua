#!lua flags=no-writes
-- Read a booking's record, if it is of this epoch.
--
-- KEYS  epoch, record
-- ARGV  none
-- RETURN {'known', record…}, {'unknown', now_ms}, {'fenced'}
if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end -- protection: epoch_in_redis
if redis.call('HGET', KEYS[2], 'epoch') == EPOCH then
  return {'known', redis.call('HGETALL', KEYS[2])}
end
local time = redis.call('TIME')
return {'unknown', time[1] * 1000 + math.floor(time[2] / 1000)}
