#!lua flags=allow-oom
-- Remove bookings that PostgreSQL has from the unpersisted set, unless they changed meanwhile, and read the oldest of
-- the remaining ones. Safe to repeat, and in any order: a booking is settled only if its record still has the given
-- version. Record keys are formed from the prefix and the booking's id; they are in the slot of the given keys. Clears
-- the wake-up flag only if the set is empty and this call settled nothing; a worker that settled something calls again.
--
-- KEYS  epoch, unpersisted, doorbell, then record and mine of each booking
-- ARGV  retire_ms, record_prefix, skip (how many of the oldest are not read), limit (0 to read none),
--       then of each booking: booking_id, version as it was read ('' when there was no record),
--       then as PostgreSQL has it: status, version, confirmed_ms ('' for none)
-- RETURN {'settled', unpersisted_left, page (in msgpack, of each: id, then the fields of its record)}, {'fenced'}
local FIRST_BOOKING, FIRST_KEY = 5, 4
local ABSENT = {[8] = 0, [9] = '', [11] = '', [12] = 0, [13] = 0, [14] = ''}

if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end

local settled, key = {}, FIRST_KEY
for i = FIRST_BOOKING, #ARGV, 5 do
  local version = redis.call('HGET', KEYS[key], 'version')
  local same = (version or '') == ARGV[i + 1]
  if same then
    settled[#settled + 1] = ARGV[i]
    redis.call('SREM', KEYS[key + 1], ARGV[i])
    if version and ARGV[i + 4] ~= '' then
      redis.call('HSET', KEYS[key], 'status', ARGV[i + 2], 'version', ARGV[i + 3], 'confirmed_ms', ARGV[i + 4])
    elseif version then
      redis.call('HSET', KEYS[key], 'status', ARGV[i + 2], 'version', ARGV[i + 3])
    end
    -- The record of a hold has no lifetime: its claims come back by its deadline.
    if version and ARGV[i + 2] ~= 'held' then redis.call('PEXPIRE', KEYS[key], ARGV[1]) end
  end
  key = key + 2
end
if settled[1] then redis.call('ZREM', KEYS[2], unpack(settled)) end
local left = redis.call('ZCARD', KEYS[2])
if left == 0 and not settled[1] then redis.call('DEL', KEYS[3]) end

local page, last = {}, ARGV[3] + ARGV[4] - 1
local ids = ARGV[4] == '0' and {} or redis.call('ZRANGE', KEYS[2], ARGV[3], last)
for i, id in ipairs(ids) do
  local record = redis.call('HMGET', ARGV[2] .. id, 'epoch', 'event', 'user', 'quantity', 'status', 'version',
    'created_ms', 'cancelled_ms', 'reason', 'claims', 'fingerprint', 'due_ms', 'taken_ms', 'body')
  for field, absent in pairs(ABSENT) do record[field] = record[field] or absent end
  page[i] = record[1] and {id, unpack(record)} or {id}
end
return {'settled', left, cmsgpack.pack(page)}
