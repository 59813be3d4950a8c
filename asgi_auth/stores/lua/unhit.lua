#!lua flags=allow-oom
-- ARGV: how many counters lose one hit, those, then those that are forgotten.
local undone = tonumber(ARGV[4])
for i = 5, #ARGV do
  local key = P .. 'h:' .. ARGV[i]
  local n = tonumber(redis.call('HGET', key, 'n'))
  if i > 4 + undone or (n and n <= 1) then
    redis.call('DEL', key)
  elseif n then
    redis.call('HSET', key, 'n', n - 1)
  end
end
