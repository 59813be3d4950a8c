#!lua
-- ARGV: user, the revision that must stand ('': there is no user), bump or '', reason that ends the sessions or '', the
-- sid that is kept or '', its new digest or '', the name's compared form ('': as it was), whether it has a name, whether
-- names are kept elsewhere (it was reserved there), then the row's fields and values. The revision or a refusal, and the
-- name that is to be let go of elsewhere.
local id, expected, bump, ends, name = ARGV[4], ARGV[5], ARGV[6] ~= '', ARGV[7], ARGV[10]
local key = P .. 'u:' .. id
local u = user(id)
local there = u and u.deleted ~= '1'
if u and u.by == NONCE then -- this very call, asked again
  return { tonumber(u.revision), '' }
elseif expected == '' and there or expected ~= '' and not (there and u.revision == expected) then
  return { 'changed' }
end

if ARGV[11] == '' then
  name = nil
elseif name == '' then
  name = there and u.name_key
end
local apart, freed = ARGV[12] ~= '', there and u.name_key ~= name and u.name_key or ''
if name and not apart then
  local owner = redis.call('GET', P .. 'n:' .. name)
  if owner and owner ~= id then
    return { 'taken' }
  end
  redis.call('SET', P .. 'n:' .. name, id)
end
if freed ~= '' and not apart then
  redis.call('DEL', P .. 'n:' .. freed)
  freed = ''
end

local rises = bump or ends ~= '' or not there
local revision = (u and tonumber(u.revision) or 0) + (rises and 1 or 0)
local kept = ''
if ends ~= '' then
  local _
  _, kept = end_sessions(id, revision, ends, ARGV[8], ARGV[9])
end
redis.call('HDEL', key, 'name', 'name_key', 'password_hash', 'session_limit', 'deleted')
redis.call('HSET', key, 'revision', text(revision), 'checked_at', text(NOW), 'by', NONCE)
redis.call('HSETNX', key, 'ended_below', 0)
if name then
  redis.call('HSET', key, 'name_key', name)
end
put(key, ARGV, 13)
redis.call('ZADD', P .. 'users', 0, id)
if rises then
  user_changed(id, kept)
end
return { revision, freed }
