#!lua flags=allow-oom
-- Put an event's sales terms in force, unless more is taken of a counter than its new size. Counters keep what is
-- taken; those of a new event start at 0.
--
-- KEYS  epoch, counters
-- ARGV  terms_token, then counter, size of each pool
-- RETURN {'installed', now_ms}, {'short', counter, taken}, {'fenced'}
local FIRST_POOL = 2

if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end

for i = FIRST_POOL, #ARGV, 2 do
  local taken = tonumber(redis.call('HGET', KEYS[2], ARGV[i]) or '0')
  if taken > tonumber(ARGV[i + 1]) then return {'short', ARGV[i], taken} end
end
for i = FIRST_POOL, #ARGV, 2 do
  redis.call('HSETNX', KEYS[2], ARGV[i], 0)
  redis.call('HSET', KEYS[2], 'size:' .. ARGV[i], ARGV[i + 1])
end
redis.call('HSET', KEYS[2], 'terms', ARGV[1])
return {'installed', redis_ms()}
