#!lua
-- ARGV: sid, the most bytes that keys and values may have, how many keys are deleted, those, then keys and values.
local sid, most, puts_from = ARGV[4], tonumber(ARGV[5]), 7 + tonumber(ARGV[6])
local key = P .. 's:' .. sid
local r = alive(sid)
if not r then
  return 'gone'
end

local function size()
  local bytes = 0
  for field, value in pairs(r) do
    if string.sub(field, 1, 2) == 'd:' then
      bytes = bytes + #field - 2 + #value
    end
  end
  return bytes
end
local before = size()
for i = 7, puts_from - 1 do
  r[ARGV[i]] = nil
end
for i = puts_from, #ARGV, 2 do
  r[ARGV[i]] = ARGV[i + 1]
end
local after = size()
if after > most and after > before then
  return 'too_large'
end

for i = 7, puts_from - 1 do
  redis.call('HDEL', key, ARGV[i])
end
put(key, ARGV, puts_from)
local version = redis.call('HINCRBY', key, SHORT.data_version, 1)
emit('changed', 'sid', sid, 'data_version', version)
return version
