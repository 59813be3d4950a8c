#!lua flags=allow-oom
-- ARGV: a sid, how many seconds ago it was seen, and so on. None is brought back, and nothing moves back. Nothing grows
-- by it, so a full server does it too.
for i = 4, #ARGV, 2 do
  local r, at = alive(ARGV[i]), NOW - tonumber(ARGV[i + 1])
  if r and at >= (tonumber(r.seen_at) or 0) then
    write(ARGV[i], 'seen_at', text(at))
    move(ARGV[i], r, at + tonumber(r.idle))
  end
end
