#!lua flags=allow-oom
-- Put an event's sales terms in force, unless more is taken of a counter than its new size. Counters keep what is
-- taken; those of a new event start at 0. Only a new event may have no terms: another one is not refilled yet.
--
-- KEYS  epoch, counters
-- ARGV  terms_token, age ('new' or 'known'), gates (counter and pass of each gate, '' for none), then counter, size of
--       each counter
-- RETURN {'installed', now_ms}, {'short', counter, taken}, {'uninstalled'}, {'fenced'}
local FIRST_COUNTER = 4

if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end
if ARGV[2] ~= 'new' and redis.call('HEXISTS', KEYS[2], 'terms') == 0 then return {'uninstalled'} end

for i = FIRST_COUNTER, #ARGV, 2 do
  local taken = tonumber(redis.call('HGET', KEYS[2], ARGV[i]) or '0')
  if taken > tonumber(ARGV[i + 1]) then return {'short', ARGV[i], taken} end
end
for i = FIRST_COUNTER, #ARGV, 2 do
  redis.call('HSETNX', KEYS[2], ARGV[i], 0)
  redis.call('HSET', KEYS[2], 'size:' .. ARGV[i], ARGV[i + 1])
end
if ARGV[3] == '' then redis.call('HDEL', KEYS[2], 'gates') else redis.call('HSET', KEYS[2], 'gates', ARGV[3]) end
redis.call('HSET', KEYS[2], 'terms', ARGV[1])
return {'installed', redis_ms()}
