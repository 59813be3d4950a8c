#!lua flags=allow-oom
-- ARGV: user, whether names are kept elsewhere. What is left: the revision, and what keeps earlier sessions and tokens
-- dead should the id come back. Who ended, and the name that is to be let go of elsewhere.
local id = ARGV[4]
local key = P .. 'u:' .. id
local u = user(id)
if not u or u.deleted == '1' then
  return u and u.by == NONCE and { {}, '' } or nil -- this very call, asked again
end
local ended, kept = end_sessions(id, u.revision + 1, 'deleted', '', '')
local freed = u.name_key or ''
if freed ~= '' and ARGV[5] == '' then
  redis.call('DEL', P .. 'n:' .. freed)
  freed = ''
end
redis.call('HDEL', key, 'display_name', 'scopes', 'claims', 'name', 'name_key', 'password_hash', 'disabled', 'session_limit', 'checked_at')
redis.call('HSET', key, 'deleted', 1, 'by', NONCE)
redis.call('ZREM', P .. 'users', id)
user_changed(id, kept)
return { ended, freed }
