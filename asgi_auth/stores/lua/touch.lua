#!lua flags=allow-oom
-- ARGV: sids. Those that live were seen now; none is brought back. Nothing grows by it, so a full server does it too.
for i = 4, #ARGV do
  local r = alive(ARGV[i])
  if r then
    redis.call('HSET', P .. 's:' .. ARGV[i], 'seen_at', text(NOW))
    move(ARGV[i], r, tonumber(r.idle))
  end
end
