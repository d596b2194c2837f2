-- List a booking as unpersisted, behind everything that is listed: what returned units of a counter is always before
-- what took them, also within one millisecond.
local function list_unpersisted(unpersisted, mine, id, now_ms)
  local last = redis.call('ZRANGE', unpersisted, -1, -1, 'WITHSCORES')
  local score = now_ms
  if last[2] and tonumber(last[2]) >= now_ms then score = last[2] + 1 / 1024 end
  redis.call('ZADD', unpersisted, score, id)
  redis.call('SADD', mine, id)
end
