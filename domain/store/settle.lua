#!lua
-- Take bookings that PostgreSQL has out of the unpersisted set, unless they changed meanwhile.
-- Safe to repeat, and in any order: a version that is not the record's any more settles nothing.
--
-- KEYS  epoch, unpersisted, doorbell, then record and mine of each booking
-- ARGV  retire_ms, then of each booking: booking_id, version as it was read ('' when there was no
--       record), then as PostgreSQL has it: status, version, confirmed_ms ('' for none)
-- RETURN {'settled', settled_count, unpersisted_left}, {'fenced'}
local FIRST_BOOKING, FIRST_KEY = 2, 4

if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end -- protection: epoch_in_redis

local settled, key = 0, FIRST_KEY
for i = FIRST_BOOKING, #ARGV, 5 do
  local version = redis.call('HGET', KEYS[key], 'version')
  local same = true
  same = (version or '') == ARGV[i + 1] -- protection: settle_version
  if same then
    redis.call('ZREM', KEYS[2], ARGV[i])
    redis.call('SREM', KEYS[key + 1], ARGV[i])
    if version then
      redis.call('HSET', KEYS[key], 'status', ARGV[i + 2], 'version', ARGV[i + 3])
      if ARGV[i + 4] ~= '' then redis.call('HSET', KEYS[key], 'confirmed_ms', ARGV[i + 4]) end
      redis.call('PEXPIRE', KEYS[key], ARGV[1])
    end
    settled = settled + 1
  end
  key = key + 2
end
local left = redis.call('ZCARD', KEYS[2])
if left == 0 then redis.call('DEL', KEYS[3]) end
return {'settled', settled, left}
