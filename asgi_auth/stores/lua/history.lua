#!lua flags=allow-oom
-- ARGV: a name for this partition's history, if it has none yet, how many partitions there are. The name, how often
-- everybody's sessions ended, the clock, how many partitions the store says to have.
redis.call('SET', P .. 'once:epoch', ARGV[4], 'NX')
redis.call('SET', P .. 'once:partitions', ARGV[5], 'NX')
return { redis.call('GET', P .. 'once:epoch'), redis.call('HGET', P .. 'era', 'n') or '0', text(NOW),
  redis.call('GET', P .. 'once:partitions') }
