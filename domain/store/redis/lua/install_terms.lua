#!lua flags=allow-oom
-- Put an event's sales terms in force, unless more is taken of a counter than its new size. Counters keep what is
-- taken; those of a new event start at 0. Only a new event may have no terms: another one is not refilled yet.
--
-- KEYS  epoch, counters
-- ARGV  terms_token, age ('new' or 'known'), gates (counter and pass of each gate, '' for none), then counter, size of
--       each counter
-- RETURN {'installed', now_ms}, {'short', counter, taken}, {'uninstalled'}, {'fenced'}
--
-- Arguments that one command takes at most: an event has thousands of counters, and a sale must not wait long.
local FIRST_COUNTER, STEP = 4, 1000

if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end
if ARGV[2] ~= 'new' and redis.call('HEXISTS', KEYS[2], 'terms') == 0 then return {'uninstalled'} end

local changed = {}
for first = FIRST_COUNTER, #ARGV, STEP do
  local names = {}
  for i = first, math.min(first + STEP, #ARGV) - 1, 2 do
    names[#names + 1] = ARGV[i]
    names[#names + 1] = 'size:' .. ARGV[i]
  end
  local known = redis.call('HMGET', KEYS[2], unpack(names))
  for i = 1, #names, 2 do
    local taken, size = known[i], ARGV[first + i]
    if taken and tonumber(taken) > tonumber(size) then return {'short', names[i], tonumber(taken)} end
    if not taken then changed[#changed + 1], changed[#changed + 2] = names[i], 0 end
    if known[i + 1] ~= size then changed[#changed + 1], changed[#changed + 2] = names[i + 1], size end
  end
end
for first = 1, #changed, STEP do
  redis.call('HSET', KEYS[2], unpack(changed, first, math.min(first + STEP - 1, #changed)))
end
if ARGV[3] == '' then redis.call('HDEL', KEYS[2], 'gates') else redis.call('HSET', KEYS[2], 'gates', ARGV[3]) end
redis.call('HSET', KEYS[2], 'terms', ARGV[1])
return {'installed', redis_ms()}
