#!lua
-- ARGV: six for each limit: key, allowed, window, the key that suspends it or '', shortest and longest wait or ''.
-- First everything is asked, then everything is counted.
local function counter(key)
  local c = key ~= '' and hash(P .. 'h:' .. key)
  if c and NOW < (tonumber(c.until_at) or 0) then
    return tonumber(c.n), tonumber(c.last), tonumber(c.until_at)
  end
  return 0
end

local counts, counted, wait = {}, {}, 0
for i = 4, #ARGV, 6 do
  local key, allowed, window, shortest = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), tonumber(ARGV[i + 4])
  local at = #counts + 1
  counts[at] = 0
  if counter(ARGV[i + 3]) == 0 then
    local n, last, until_at = counter(key)
    if n > allowed then
      local longest = tonumber(ARGV[i + 5])
      local open_at = shortest and last + math.min(longest, shortest * 2 ^ (n - allowed - 1)) or until_at
      wait = math.max(wait, open_at - NOW)
    end
    if n == 0 or n > allowed and shortest then
      until_at = NOW + window
    end
    counts[at] = n
    counted[#counted + 1] = { at, P .. 'h:' .. key, until_at }
  end
end
if wait > 0 then
  return { text(wait), counts }
end

for _, each in ipairs(counted) do
  local at, key, until_at = unpack(each)
  counts[at] = counts[at] + 1
  redis.call('HSET', key, 'n', counts[at], 'last', text(NOW), 'until_at', text(until_at))
  redis.call('PEXPIRE', key, math.max(1, math.ceil((until_at - NOW) * 1000)))
end
return { '0', counts }
