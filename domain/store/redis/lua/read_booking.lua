#!lua flags=no-writes
-- Read a booking's record, if it is of this epoch. A hold whose deadline has passed is expired.
--
-- KEYS  epoch, record
-- ARGV  none
-- RETURN {'known', {epoch, event, user, quantity, status, version, created_ms, confirmed_ms, cancelled_ms, reason,
--        due_ms, body}} (the last five may be nil), {'unknown', now_ms}, {'fenced'}
if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end
local record = redis.call('HMGET', KEYS[2], 'epoch', 'event', 'user', 'quantity', 'status', 'version', 'created_ms',
  'confirmed_ms', 'cancelled_ms', 'reason', 'due_ms', 'body')
if record[5] == 'held' and redis_ms() >= tonumber(record[11]) then
  -- It is answered as it will be when its claims have come back.
  record[5], record[6] = 'expired', record[6] + 1
end
if record[1] == EPOCH then return {'known', record} end
return {'unknown', redis_ms()}
