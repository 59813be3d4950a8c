#!lua flags=allow-oom
-- ARGV: a member and what it last said. Gone, unless it has said something since.
if redis.call('HGET', P .. 'readers', ARGV[4]) == ARGV[5] then
  redis.call('HDEL', P .. 'readers', ARGV[4])
end
