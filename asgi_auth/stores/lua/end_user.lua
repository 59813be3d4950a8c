#!lua flags=allow-oom
-- ARGV: user, reason, the sid that is kept or '', its new digest or '', whether the user is disabled ('' as it was).
local id = ARGV[4]
local u = user(id)
if not u or u.deleted == '1' then
  return nil
end
local ended, kept = end_sessions(id, u.revision + 1, ARGV[5], ARGV[6], ARGV[7])
if ARGV[8] ~= '' then
  redis.call('HSET', P .. 'u:' .. id, 'disabled', ARGV[8])
end
user_changed(id, kept)
return ended
