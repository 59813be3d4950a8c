#!lua flags=allow-oom
-- ARGV: sid. The session, if it is told here.
local sid = ARGV[4]
local r, gone, why = alive(sid)
if r then
  return nil
end
return superseded(sid, gone or {}, why)
