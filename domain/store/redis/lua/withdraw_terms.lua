#!lua flags=allow-oom
-- Withdraw the terms of events, so that nothing of them is sold, returned or changed until they are refilled.
--
-- KEYS  epoch, then counters of each event
-- ARGV  none
-- RETURN {'withdrawn'}, {'fenced'}
local FIRST_KEY = 2

if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end
for i = FIRST_KEY, #KEYS do redis.call('HDEL', KEYS[i], 'terms') end
return {'withdrawn'}
