-- List a hold by its deadline in the due set of its event, and the event by its first deadline in the partition's index.
local function hold_until(counters, id, due_ms)
  local tag, event = string.match(counters, '^({%w+}):counters:(.+)$')
  redis.call('ZADD', tag .. ':due:' .. event, due_ms, id)
  redis.call('ZADD', tag .. ':dues', 'LT', due_ms, event)
end
