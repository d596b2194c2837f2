#!lua flags=allow-oom
-- List a booking as unpersisted if its record has no lifetime and is not listed.
--
-- KEYS  epoch, record, unpersisted, mine
-- ARGV  booking_id
-- RETURN {'relisted'}, {'listed'} (it is listed already, or its record may expire), {'fenced'}
if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end
if redis.call('HGET', KEYS[2], 'epoch') ~= EPOCH or redis.call('PTTL', KEYS[2]) ~= -1
  or redis.call('ZSCORE', KEYS[3], ARGV[1]) then return {'listed'} end
redis.call('ZADD', KEYS[3], redis_ms(), ARGV[1])
redis.call('SADD', KEYS[4], ARGV[1])
return {'relisted'}
