#!lua flags=allow-oom
-- Remove the counters of an event that PostgreSQL has closed, unless other terms are in force now. Safe to repeat.
--
-- KEYS  epoch, counters
-- ARGV  terms_token ('' for counters without terms)
-- RETURN {'removed', keys_removed}, {'stale'}, {'fenced'}
if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end
if (redis.call('HGET', KEYS[2], 'terms') or '') ~= ARGV[1] then return {'stale'} end
return {'removed', redis.call('UNLINK', KEYS[2])}
