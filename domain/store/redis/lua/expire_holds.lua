#!lua flags=allow-oom
-- Expire holds whose deadline has passed, of one event of this partition, the event with the first deadline first.
--
-- KEYS  epoch, dues, unpersisted
-- ARGV  counters_prefix, events_max, expire_max
-- RETURN {'expired', expired_count}, {'fenced'}
if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end

local clock_ms, expired = redis_ms(), 0
for _, event in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', clock_ms, 'LIMIT', 0, ARGV[2])) do
  local counters = ARGV[1] .. event
  local seen = redis.call('HMGET', counters, 'terms', 'clock')
  expired = expire_due(counters, KEYS[3], no_earlier(clock_ms, seen[2]), tonumber(ARGV[3]))
  if expired > 0 then break end
  -- No hold of the event is due: the index was behind. Without terms, the holds wait for the counters.
  local first = redis.call('ZRANGE', (string.gsub(counters, ':counters:', ':due:', 1)), 0, 0, 'WITHSCORES')
  if not first[2] then redis.call('ZREM', KEYS[2], event) end
  if first[2] and seen[1] then redis.call('ZADD', KEYS[2], first[2], event) end
end
return {'expired', expired}
