#!lua flags=allow-oom
-- ARGV: at most how many rows. Users come one after another, the one with the earliest end first.
local left, ended = tonumber(ARGV[4]), {}
local last = redis.call('GET', P .. 'swept')
last = last and cjson.decode(last)
if last and last[1] == NONCE then -- this very call, asked again: nobody else is told of these
  return { last[2], last[3] }
end

local function collect(id)
  local index, by = P .. 'i:' .. id, judges(id)
  for _, sid in ipairs(redis.call('ZRANGE', index, '-inf', text(NOW), 'BYSCORE', 'LIMIT', 0, left)) do
    local r, why = find(sid, by)
    if r and not why then -- the index is wrong
      move(sid, r, tonumber(r.idle_expires_at))
    elseif r and not r.ended then
      ended[#ended + 1] = bury(sid, r, why)
    else
      redis.call('ZREM', index, sid)
    end
    left = left - 1
  end
  local first = redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')
  if first[2] then
    redis.call('ZADD', P .. 'due', first[2], id)
  else
    redis.call('ZREM', P .. 'due', id)
  end
end

for _, id in ipairs(redis.call('ZRANGE', P .. 'due', '-inf', text(NOW), 'BYSCORE', 'LIMIT', 0, left)) do
  if left <= 0 then
    break
  end
  left = left - 1
  if not pcall(collect, id) then -- what cannot be read of one user is in nobody else's way
    redis.call('ZREM', P .. 'due', id)
  end
end

local over = left > 0 and redis.call('ZRANGE', P .. 'dead:until', '-inf', text(NOW), 'BYSCORE', 'LIMIT', 0, left) or {}
if #over > 0 then
  redis.call('ZREM', P .. 'dead', unpack(over))
  redis.call('ZREM', P .. 'dead:until', unpack(over))
end

local full = left <= #over and 1 or 0
if #ended > 0 then
  redis.call('SET', P .. 'swept', cjson.encode({ NONCE, ended, full }), 'EX', 60)
end
return { ended, full }
