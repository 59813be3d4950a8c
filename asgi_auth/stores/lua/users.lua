#!lua flags=no-writes
-- ARGV: the id after which ('': from the first), how many.
local from = ARGV[4] == '' and '-' or '(' .. ARGV[4]
local found = {}
for i, id in ipairs(redis.call('ZRANGE', P .. 'users', from, '+', 'BYLEX', 'LIMIT', 0, ARGV[5])) do
  found[i] = { id, redis.call('HGETALL', P .. 'u:' .. id) }
end
return found
