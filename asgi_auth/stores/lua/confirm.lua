#!lua flags=allow-oom
-- ARGV: sid, generation. Only of the current refresh token, and only the first time. A full server does it too, or it
-- would accept no new access token.
local r = alive(ARGV[4])
if r and r.generation == ARGV[5] then
  redis.call('HSETNX', P .. 's:' .. ARGV[4], SHORT.confirmed_at, text(NOW))
end
