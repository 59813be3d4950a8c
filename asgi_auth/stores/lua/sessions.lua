#!lua flags=allow-oom
-- ARGV: user, at most how many. Writes only to sweep.
local id, found = ARGV[4], {}
for i, one in ipairs(living(id, tonumber(ARGV[5]))) do
  found[i] = { one[1], redis.call('HGETALL', P .. 's:' .. one[1]) }
end
return { text(NOW), redis.call('HGETALL', P .. 'u:' .. id), found }
