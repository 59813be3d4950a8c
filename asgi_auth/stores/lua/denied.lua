#!lua flags=no-writes
-- ARGV: jti.
local till = redis.call('ZMSCORE', P .. 'dead:until', 'jti:' .. ARGV[4])[1]
return till and NOW < tonumber(till) and 1 or 0
