#!lua flags=allow-oom
-- List a booking as unpersisted if its record has no lifetime and is not listed. A hold without a lifetime that is in
-- its due set is in order. A hold of an earlier epoch, which a server that came back with older files may have, gets a
-- lifetime: the rebuild has left nothing of it.
--
-- KEYS  epoch, record, unpersisted, mine, counters, due
-- ARGV  booking_id, retire_ms
-- RETURN {'relisted'}, {'listed'} (it is listed already, or its record may expire), {'fenced'}
if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end
local record = redis.call('HMGET', KEYS[2], 'epoch', 'status', 'due_ms')
local held = record[2] == 'held'
if redis.call('PTTL', KEYS[2]) ~= -1 or redis.call('ZSCORE', KEYS[3], ARGV[1]) then return {'listed'} end
if record[1] ~= EPOCH and held then redis.call('PEXPIRE', KEYS[2], ARGV[2]) end
if record[1] ~= EPOCH or held and redis.call('ZSCORE', KEYS[6], ARGV[1]) then return {'listed'} end
if held then hold_until(KEYS[5], ARGV[1], record[3]) end
list_unpersisted(KEYS[3], KEYS[4], ARGV[1], redis_ms())
return {'relisted'}
