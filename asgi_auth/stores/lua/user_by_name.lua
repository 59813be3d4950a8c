#!lua flags=no-writes
-- ARGV: a name in its compared form.
local id = redis.call('GET', P .. 'n:' .. ARGV[4])
return id and { id, redis.call('HGETALL', P .. 'u:' .. id) } or nil
