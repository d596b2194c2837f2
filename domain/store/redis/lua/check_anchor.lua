#!lua flags=no-writes
-- Say that this server was rebuilt for this epoch and was neither restarted, promoted nor wiped since.
-- Every version has this text: it never changes, not in a comment either.
--
-- KEYS  epoch
-- ARGV  none
-- RETURN {'anchored'}, {'fenced'}
if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end
return {'anchored'}
