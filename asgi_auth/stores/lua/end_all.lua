#!lua flags=allow-oom
-- ARGV: reason, the era that it should have been ('' none), whether it is so in all partitions then ('': not yet). No
-- loop: a session knows its era. Once for each partition.
local n = tonumber(redis.call('HGET', P .. 'era', 'n') or 0)
local lost = tonumber(ARGV[5])
if lost and n >= lost then
  return
end
n = lost or n + 1
redis.call('HSET', P .. 'era', 'n', n, 'reason', ARGV[4], 'at', text(NOW))
if ARGV[6] ~= '' then
  emit('all', 'era', n)
else
  emit('all', 'era', n, 'partly', 1)
end
