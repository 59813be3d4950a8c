#!lua
-- ARGV: what must be there now ('': nothing), the ring. Asked again after no answer, it says yes again.
local there = redis.call('GET', P .. 'keys') or ''
if there == ARGV[5] then
  return 1
elseif there ~= ARGV[4] then
  return 0
end
redis.call('SET', P .. 'keys', ARGV[5])
emit('keys')
return 1
