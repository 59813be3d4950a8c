#!lua flags=allow-oom
-- ARGV: sid, digest. Of a session that lives and has this secret: whose it is ('' a visitor's), and its data.
local r = alive(ARGV[4])
return r and shows(r, ARGV[5]) and { r.user or '', data(r) } or nil
