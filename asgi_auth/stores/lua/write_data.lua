#!lua
-- ARGV: sid, the most bytes that keys and values may have, how many keys are deleted, those, then keys and values.
local sid, most, deleted = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local key = P .. 's:' .. sid
local r, why = mend(sid)
if not r or why then
  return 'gone'
end

local before, size = 0, 0
for field, value in pairs(r) do
  if string.sub(field, 1, 2) == 'd:' then
    before = before + #field - 2 + #value
  end
end
size = before
local function replace(field, value)
  if r[field] then
    size = size - (#field - 2 + #r[field])
  end
  r[field] = value
  if value then
    size = size + #field - 2 + #value
  end
end
for i = 7, 6 + deleted do
  replace(ARGV[i], nil)
end
for i = 7 + deleted, #ARGV, 2 do
  replace(ARGV[i], ARGV[i + 1])
end
if size > most and size > before then
  return 'too_large'
end

for i = 7, 6 + deleted do
  redis.call('HDEL', key, ARGV[i])
end
put(key, ARGV, 7 + deleted)
local version = redis.call('HINCRBY', key, 'data_version', 1)
emit('changed', 'sid', sid, 'data_version', version)
return version
