#!lua
-- The newest entry; the feed's first one, if there is none.
local found = redis.call('XREVRANGE', P .. 'events', '+', '-', 'COUNT', 1)
if #found == 0 then
  emit('begun')
  found = redis.call('XREVRANGE', P .. 'events', '+', '-', 'COUNT', 1)
end
return found[1]
