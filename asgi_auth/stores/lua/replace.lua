#!lua flags=allow-oom
-- ARGV: sid, digest. Its place is taken by a session of another partition: as `create` does it with one of its own. The
-- session, if it is told here, and its data, if it lived.
local sid = ARGV[4]
local r, gone, why = alive(sid)
if not r then
  local told = superseded(sid, gone or {}, why)
  return told and { told, {} } or nil
elseif shows(r, ARGV[5]) then
  return { bury(sid, r, 'replaced'), data(r) }
end
return nil
