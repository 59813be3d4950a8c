#!lua flags=allow-oom
-- ARGV: sid.
local sid = ARGV[4]
local r, gone = alive(sid)
if not r then
  superseded(sid, gone or {})
end
