#!lua
-- ARGV: key, lifetime. What may vanish once it is over has a TTL.
local key, lifetime = P .. 'x:' .. ARGV[4], tonumber(ARGV[5])
local till, by = string.match(redis.call('GET', key) or '', '^(%S+) (%S+)$')
if till and NOW < tonumber(till) then
  return by == NONCE and 0 or 1 -- this very call, asked again: it was the first
end
redis.call('SET', key, text(NOW + lifetime) .. ' ' .. NONCE, 'PX', math.max(1, math.ceil(lifetime * 1000)))
return 0
