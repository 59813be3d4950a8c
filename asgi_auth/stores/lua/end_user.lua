#!lua flags=allow-oom
-- ARGV: user, reason, the sid that is kept or '', its new digest or '', whether the user is disabled ('' as it was), the
-- `ended_below` that the row should have had ('' none).
local id = ARGV[4]
local u = user(id)
if not u or u.deleted == '1' then
  return nil
end
local lost = tonumber(ARGV[9])
if lost and tonumber(u.ended_below) >= lost then
  return {}
end
local ended, kept = end_sessions(id, math.max(u.revision + 1, lost or 0), ARGV[5], ARGV[6], ARGV[7])
if ARGV[8] ~= '' then
  redis.call('HSET', P .. 'u:' .. id, 'disabled', ARGV[8])
end
user_changed(id, kept)
return ended
