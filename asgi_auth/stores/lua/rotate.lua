#!lua
-- ARGV: sid, the digest that must be current, the new one, the old one's grace.
local sid, old, new, grace = ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
local r = alive(sid)
if not r or r.digest == '' then
  return 0
elseif r.digest == new then -- this very call, asked again: nobody else knows the new secret
  return 1
elseif r.digest ~= old then
  return 0
end
write(sid, 'digest', new, 'previous_digest', grace > 0 and old or '',
  'previous_until', grace > 0 and text(NOW + grace) or 0, 'secret_at', text(NOW))
emit('changed', 'sid', sid, 'data_version', r.data_version or 0)
return 1
