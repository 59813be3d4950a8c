#!lua flags=allow-oom
-- ARGV: sid, reason. A full server must still be able to revoke, and a tombstone is smaller than what it replaces.
local sid, reason = ARGV[4], ARGV[5]
local r, why = find(sid)
if not r then
  return nil
elseif r.ended then -- the reason of the first stands; this very call, asked again, is told the same
  return r.by == NONCE and { sid, r.user or '', r.ended } or nil
elseif why and why ~= 'broken' then
  return nil
end
return bury(sid, r, why or reason)
