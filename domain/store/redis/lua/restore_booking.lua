#!lua flags=allow-oom
-- Restore the record of a booking from PostgreSQL, if Redis has none of this epoch. A row that was read too long ago is
-- not used: the booking may have changed and its record retired since.
--
-- KEYS  epoch, record, counters
-- ARGV  read_ms (Redis' clock before PostgreSQL was read), read_age_max_ms, retire_ms, booking_id,
--       due_ms (of a hold, otherwise 0), then field, value of the record
-- RETURN {'restored'}, {'known'}, {'expired'}, {'fenced'}
local FIRST_FIELD = 6

if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end
if redis.call('HGET', KEYS[2], 'epoch') == EPOCH then return {'known'} end

-- A negative age means that the clock was set back, so that the true age is unknown.
local age_ms = redis_ms() - tonumber(ARGV[1])
if age_ms < 0 or age_ms > tonumber(ARGV[2]) then return {'expired'} end

redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'epoch', EPOCH)
for i = FIRST_FIELD, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
if ARGV[5] == '0' then redis.call('PEXPIRE', KEYS[2], ARGV[3]) else hold_until(KEYS[3], ARGV[4], ARGV[5]) end
return {'restored'}
