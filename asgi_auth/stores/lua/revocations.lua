#!lua flags=no-writes
-- ARGV: after which (kind:key, '': from the first), how many. What is over is passed by, so a page is short only at the end.
local after, wanted = ARGV[4], tonumber(ARGV[5])
local found = {}
while #found < wanted do
  local page = redis.call('ZRANGE', P .. 'dead', after == '' and '-' or '(' .. after, '+', 'BYLEX', 'LIMIT', 0, 1000)
  if #page == 0 then
    break
  end
  local untils = redis.call('ZMSCORE', P .. 'dead:until', unpack(page))
  for i, member in ipairs(page) do
    local till = tonumber(untils[i] or nil)
    if till and till > NOW and #found < wanted then
      local value = 0
      if string.sub(member, 1, 5) == 'user:' then
        value = redis.call('HGET', P .. 'u:' .. string.sub(member, 6), 'revision') or 0
      end
      found[#found + 1] = { member, value, text(till) }
    end
  end
  after = page[#page]
end
return found
