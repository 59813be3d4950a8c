#!lua flags=no-writes
-- ARGV: an entry's id and nonce, or nothing. Who follows the feed and has not said that it is applied: {name, value} each. Only ids
-- and nonces that stand in this very feed, at the entry or behind it, count. An entry that is not there is an error: with it
-- the members may be lost.
local id, nonce = ARGV[4], ARGV[5]
local passed = {}
for i, entry in ipairs(id ~= '' and redis.call('XRANGE', P .. 'events', id, '+') or {}) do
  if i == 1 and (entry[1] ~= id or entry[2][2] ~= nonce) then
    break
  end
  passed[entry[1] .. ' ' .. entry[2][2]] = true
end
if id ~= '' and not passed[id .. ' ' .. nonce] then
  return redis.error_reply('GONE the feed is another one')
end
local late, members = {}, redis.call('HGETALL', P .. 'readers')
for i = 1, #members, 2 do
  local at = string.match(members[i + 1], '^%S+ (%S+ %S+) ')
  if not (at and passed[at]) then
    late[#late + 1] = { members[i], members[i + 1] }
  end
end
return late
