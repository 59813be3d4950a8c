#!lua flags=allow-oom
-- ARGV: reason. No loop: a session knows its era. In a cluster once for each partition.
local n = redis.call('HINCRBY', P .. 'era', 'n', 1)
redis.call('HSET', P .. 'era', 'reason', ARGV[4], 'at', text(NOW))
emit('all', 'era', n)
