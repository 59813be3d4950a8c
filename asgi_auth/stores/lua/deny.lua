#!lua flags=allow-oom
-- ARGV: jti, lifetime. A full server must still be able to revoke.
local jti, till = ARGV[4], NOW + tonumber(ARGV[5])
local member = 'jti:' .. jti
if till > math.max(NOW, tonumber(redis.call('ZMSCORE', P .. 'dead:until', member)[1] or 0)) then
  revoke(member, till)
  emit('denied', 'jti', jti, 'until', text(till))
end
