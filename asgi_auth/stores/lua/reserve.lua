#!lua
-- ARGV: a name in its compared form, who wants it, who is known to have it no more or '', for how many seconds it is
-- kept for who was given it. Nothing, if it is given now; else whose it is.
local name, id, gone, seconds = P .. 'n:' .. ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
local owner = redis.call('GET', name)
if owner and owner ~= id and (owner ~= gone or NOW < (tonumber(redis.call('GET', P .. 'r:' .. ARGV[4]) or 0))) then
  return owner
end
redis.call('SET', name, id)
redis.call('SET', P .. 'r:' .. ARGV[4], text(NOW + seconds), 'PX', math.ceil(seconds * 1000))
return nil
