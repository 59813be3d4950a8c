#!lua flags=allow-oom
-- ARGV: a name for this partition's history, if it has none yet. The name, how often everybody's sessions ended, the
-- clock.
redis.call('SET', P .. 'once:epoch', ARGV[4], 'NX')
return { redis.call('GET', P .. 'once:epoch'), redis.call('HGET', P .. 'era', 'n') or '0', text(NOW) }
