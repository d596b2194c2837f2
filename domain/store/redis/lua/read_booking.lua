#!lua flags=no-writes
-- Read a booking's record, if it is of this epoch.
--
-- KEYS  epoch, record
-- ARGV  none
-- RETURN {'known', {epoch, event, user, quantity, status, version, created_ms, confirmed_ms, cancelled_ms, reason}}
--        (the last three may be nil), {'unknown', now_ms}, {'fenced'}
if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end
local record = redis.call('HMGET', KEYS[2], 'epoch', 'event', 'user', 'quantity', 'status', 'version', 'created_ms',
  'confirmed_ms', 'cancelled_ms', 'reason')
if record[1] == EPOCH then return {'known', record} end
return {'unknown', redis_ms()}
