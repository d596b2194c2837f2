-- Give back the claims of an event's holds whose deadline has passed, the first deadline first, at most `limit` of them;
-- returns how many. Without terms the event has no counters, and its holds wait until they are refilled.
local function expire_due(counters, unpersisted, now_ms, limit)
  local tag, event = string.match(counters, '^({%w+}):counters:(.+)$')
  local due = tag .. ':due:' .. event
  local ids = redis.call('ZRANGEBYSCORE', due, '-inf', now_ms, 'LIMIT', 0, limit)
  if not ids[1] or redis.call('HEXISTS', counters, 'terms') == 0 then return 0 end
  for _, id in ipairs(ids) do
    local key = tag .. ':booking:' .. id
    local record = redis.call('HMGET', key, 'epoch', 'status', 'version', 'claims', 'user')
    if record[1] == EPOCH and record[2] == 'held' then
      give_back(counters, record[4])
      redis.call('HSET', key, 'status', 'expired', 'version', record[3] + 1, 'cancelled_ms', now_ms)
      list_unpersisted(unpersisted, tag .. ':mine:' .. record[5], id, now_ms)
    end
  end
  redis.call('ZREM', due, unpack(ids))
  redis.call('HSET', counters, 'clock', now_ms)
  local first = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
  if first[2] then redis.call('ZADD', tag .. ':dues', first[2], event) else redis.call('ZREM', tag .. ':dues', event) end
  return #ids
end
