#!lua
-- ARGV: six for each limit: key, allowed, window, the key that suspends it or '', shortest and longest wait or ''.
-- First everything is asked, then everything is counted.
local function counter(key)
  local c = hash(P .. 'h:' .. key)
  if c and NOW < (tonumber(c.until_at) or 0) then
    return { n = tonumber(c.n), last = tonumber(c.last), until_at = tonumber(c.until_at) }
  end
  return { n = 0, last = 0, until_at = 0 }
end

local counters, counts, wait = {}, {}, 0
for i = 4, #ARGV, 6 do
  local at = #counts + 1
  if ARGV[i + 3] ~= '' and counter(ARGV[i + 3]).n > 0 then
    counters[at], counts[at] = false, 0
  else
    local c, allowed, shortest = counter(ARGV[i]), tonumber(ARGV[i + 1]), tonumber(ARGV[i + 4])
    counters[at], counts[at] = c, c.n
    if c.n > allowed then
      local open_at = c.until_at
      if shortest then
        open_at = c.last + math.min(tonumber(ARGV[i + 5]), shortest * 2 ^ (c.n - allowed - 1))
      end
      wait = math.max(wait, open_at - NOW)
    end
  end
end
if wait > 0 then
  return { text(wait), counts }
end

for at, c in ipairs(counters) do
  local i = 6 * at - 2
  if c then
    local n, window = c.n + 1, tonumber(ARGV[i + 2])
    local again = c.n > tonumber(ARGV[i + 1]) and ARGV[i + 4] ~= ''
    local until_at = (c.n == 0 or again) and NOW + window or c.until_at
    local key = P .. 'h:' .. ARGV[i]
    redis.call('HSET', key, 'n', n, 'last', text(NOW), 'until_at', text(until_at))
    redis.call('PEXPIRE', key, math.max(1, math.ceil((until_at - NOW) * 1000)))
    counts[at] = n
  end
end
return { '0', counts }
