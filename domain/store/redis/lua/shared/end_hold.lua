-- Take a hold off the due set of its event. The partition's index is corrected when the event is looked at next.
local function end_hold(counters, id)
  redis.call('ZREM', (string.gsub(counters, ':counters:', ':due:', 1)), id)
end
