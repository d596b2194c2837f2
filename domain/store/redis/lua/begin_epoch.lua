#!lua flags=allow-oom
-- Begin this epoch in a partition, unless a later one has begun. The deadlines of holds are refilled later.
--
-- KEYS  epoch, dues
-- ARGV  none
-- RETURN {'opened'}, {'fenced'}
local current = tonumber(redis.call('GET', KEYS[1]) or '0')
if current > tonumber(EPOCH) then return {'fenced'} end
redis.call('SET', KEYS[1], EPOCH)
redis.call('DEL', KEYS[2])
return {'opened'}
