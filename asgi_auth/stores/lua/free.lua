#!lua flags=allow-oom
-- ARGV: a name in its compared form, and who had it. Whoever has it now keeps it.
if redis.call('GET', P .. 'n:' .. ARGV[4]) == ARGV[5] then
  redis.call('DEL', P .. 'n:' .. ARGV[4], P .. 'r:' .. ARGV[4])
end
