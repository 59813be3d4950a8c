-- Stands before every script: the clock, who is alive, how a session ends, how an event is told.
--
-- ARGV: 1 the prefix with its hash tag, 2 a test's clock or '', 3 the nonce of this call; the verb's own follow.
-- A name is the prefix and
--   s:<sid>     hash     a session (its data as d:<key>), or its tombstone, which has `ended`
--   u:<user>    hash     a user's row, and what only the store needs to know
--   i:<user>    zset     the user's sessions, scored by their end, but no pending ones; it lists and counts, it never
--                        decides
--   n:<name>    string   whose name that is
--   users       zset     the ids of users, in their order
--   era         hash     n, and why and when it rose last
--   events      stream   the feed; the channel of the same name repeats it
--   dead        zset     revocations in their order;  dead:until  the same, scored by when they are over
--   h:<key>     hash     a throttle's counter;  keys, once:<name>  strings
-- so all of them lie in one slot of a cluster, which routes by KEYS[1]; the others are found on the way. KEYS[2] never
-- exists: while a slot is moved key by key its node refuses the whole script instead of running half of it. In a cluster
-- `n:` and `users` belong into a partition of their own, and a name is reserved before its user is written.
--
-- Numbers leave as text with 17 digits: Lua's own conversion has 14, and a reply would cut off the fraction. Nothing is
-- decoded from JSON here, so nothing is lost to it.
local P, NOW, NONCE = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local TOMBSTONE, FEED = 3600, 16384

if not NOW then
  local time = redis.call('TIME')
  NOW = time[1] + time[2] / 1000000
end

local function text(number)
  return string.format('%.17g', number)
end

-- A hash as a table; nil if there is none. Something else than a hash is one without any field that we know.
local function hash(key)
  local flat = redis.pcall('HGETALL', key)
  if flat.err then
    return {}
  elseif #flat == 0 then
    return nil
  end
  local fields = {}
  for i = 1, #flat, 2 do
    fields[flat[i]] = flat[i + 1]
  end
  return fields
end

-- One by one: `unpack` of thousands of data keys would not fit on Lua's stack.
local function put(key, list, from)
  for i = from, #list, 2 do
    redis.call('HSET', key, list[i], list[i + 1])
  end
end

-- A TTL tidies up and never decides: an hour after the end, by the distance, whatever clock is used.
local function lives_until(key, at)
  local ms = math.ceil((at - NOW + TOMBSTONE) * 1000)
  if redis.call('PTTL', key) < ms then
    redis.call('PEXPIRE', key, ms)
  end
end

local function user(id)
  local row = hash(P .. 'u:' .. id)
  if row and not (tonumber(row.revision) and tonumber(row.ended_below)) then
    error('the row of a user cannot be read')
  end
  return row
end

-- What decides over a session beside its own record, read once for many of them: the era, the user.
local function judges(id)
  return { era = hash(P .. 'era'), user = id and user(id) }
end

-- A session and why it is dead (nil: it lives; what came first counts). Nothing, if it was never heard of or is forgotten.
local function find(sid, by)
  local r = hash(P .. 's:' .. sid)
  if not r then
    return nil
  elseif r.ended then
    if NOW < (tonumber(r.forget_at) or 0) then
      return r, r.ended
    end
    return nil
  end
  local last, idle = tonumber(r.expires_at), tonumber(r.idle_expires_at)
  local revision, era = tonumber(r.revision), tonumber(r.era)
  if not (last and idle and revision and era and tonumber(r.idle)) then
    return r, 'broken'
  end

  local at, why = math.min(last, idle), (last <= idle) and 'lifetime' or 'idle'
  if NOW < at then
    at, why = math.huge, nil
  end
  by = by or judges(r.user)
  local now_era, u = by.era, by.user
  if now_era and era < tonumber(now_era.n) and tonumber(now_era.at) < at then
    at, why = tonumber(now_era.at), now_era.reason
  end
  if r.user then
    if not u then
      at, why = math.min(at, NOW), 'deleted'
    elseif (u.deleted == '1' or revision < tonumber(u.ended_below)) and tonumber(u.ended_at) < at then
      at, why = tonumber(u.ended_at), u.ended_reason
    end
  end
  if why and NOW >= at + TOMBSTONE then
    return nil
  end
  return r, why
end

-- What a caller gets of a living session: the clock, the record, the user's row.
local function loaded(sid, r)
  return { 'loaded', text(NOW), redis.call('HGETALL', P .. 's:' .. sid), r.user and redis.call('HGETALL', P .. 'u:' .. r.user) or {} }
end

-- The event and its message in one step with the change. A message proves nothing, so one that this user of the server
-- may not send (an ACL without the channel) is no reason to fail. A sharded one, which lies beside its stream in a cluster.
local function emit(kind, ...)
  local id = redis.call('XADD', P .. 'events', 'MAXLEN', '~', FEED, '*', 'nonce', NONCE, 'kind', kind, ...)
  redis.pcall('SPUBLISH', P .. 'events', cjson.encode({ id, NONCE, kind, ... }))
end

-- Revocations must not vanish before their time, so they have no TTL: a few that are over go with each new one.
local function sweep()
  local over = redis.call('ZRANGE', P .. 'dead:until', '-inf', text(NOW), 'BYSCORE', 'LIMIT', 0, 16)
  if #over > 0 then
    redis.call('ZREM', P .. 'dead', unpack(over))
    redis.call('ZREM', P .. 'dead:until', unpack(over))
  end
end

local function revoke(member, till)
  if till > NOW then
    redis.call('ZADD', P .. 'dead', 0, member)
    redis.call('ZADD', P .. 'dead:until', 'GT', text(till), member)
  end
  sweep()
end

-- A session becomes a tombstone, whatever it was. `quiet`: its user's event and revocation stand for it.
local function bury(sid, r, reason, quiet)
  local key = P .. 's:' .. sid
  redis.call('DEL', key)
  redis.call('HSET', key, 'ended', reason, 'forget_at', text(NOW + TOMBSTONE), 'by', NONCE)
  if r.user then
    redis.call('HSET', key, 'user', r.user)
    redis.call('ZREM', P .. 'i:' .. r.user, sid)
  end
  redis.call('EXPIRE', key, TOMBSTONE)
  if not quiet then
    -- A record that does not say how long its tokens live: as long as it is remembered.
    local till = tonumber(r.tokens_until) or NOW + TOMBSTONE
    revoke('sid:' .. sid, till)
    emit('ended', 'sid', sid, 'user', r.user or '', 'reason', reason, 'tokens_until', text(till))
  end
  return { sid, r.user or '', reason }
end

-- For scripts that write: the session if it lives, else nil and what is left of it. A record that cannot be read ends
-- here, and nothing else does.
local function alive(sid, by)
  local r, why = find(sid, by)
  if why == 'broken' and not r.ended then
    bury(sid, r, 'broken')
  end
  if why then
    return nil, r
  end
  return r
end

-- A dead session (`gone`: what is left of it, if anything) whose cookie nobody should clear any more.
local function superseded(sid, gone)
  if gone.ended then
    redis.call('HSET', P .. 's:' .. sid, 'ended', 'replaced')
  else
    bury(sid, gone, 'replaced', true)
  end
end

-- A living session's new idle end: in the record, in the index, in the TTLs.
local function move(sid, r, idle_end)
  local ends = math.min(idle_end, tonumber(r.expires_at))
  local key = P .. 's:' .. sid
  redis.call('HSET', key, 'idle_expires_at', text(ends))
  lives_until(key, ends)
  if r.user and not r.pending then
    redis.call('ZADD', P .. 'i:' .. r.user, text(ends), sid)
    lives_until(P .. 'i:' .. r.user, ends)
  end
end

-- The user's living sessions, {sid, record} each, the longest-lived `most` if given; the index loses what is no more.
local function living(id, most)
  local found, by = {}, judges(id)
  for _, sid in ipairs(redis.call('ZRANGE', P .. 'i:' .. id, 0, most and most - 1 or -1, 'REV')) do
    local r = alive(sid, by)
    if r and r.user == id then
      found[#found + 1] = { sid, r }
    else
      redis.call('ZREM', P .. 'i:' .. id, sid)
    end
  end
  return found
end

-- An access token was made: until when it must be remembered if its session or user dies. Never earlier than before.
local function token_made(sid, r, lifetime)
  local till = math.min(NOW + lifetime, tonumber(r.expires_at))
  for _, key in ipairs({ P .. 's:' .. sid, r.user and P .. 'u:' .. r.user }) do
    if till > (tonumber(redis.call('HGET', key, 'tokens_until')) or 0) then
      redis.call('HSET', key, 'tokens_until', text(till))
    end
  end
  sweep()
end

-- Ends a user's sessions but `keep`. `ended_below` decides, for those missing from the index too; the walk makes the
-- tombstones and tells who they were. The one that is kept is stamped anew, with its new secret if there is one.
local function end_sessions(id, revision, reason, keep, digest)
  local ended, kept = {}, ''
  for _, one in ipairs(living(id)) do
    if one[1] ~= keep then
      ended[#ended + 1] = bury(one[1], one[2], reason, true)
    end
  end
  if keep ~= '' then
    local r = alive(keep)
    if r and r.user == id then
      kept = keep
      redis.call('HSET', P .. 's:' .. keep, 'revision', text(revision))
      if digest ~= '' then
        redis.call('HSET', P .. 's:' .. keep, 'digest', digest, 'previous_digest', '', 'previous_until', 0,
        'secret_at', text(NOW))
      end
    end
  end
  redis.call('HSET', P .. 'u:' .. id, 'revision', text(revision), 'ended_below', text(revision),
    'ended_reason', reason, 'ended_at', text(NOW))
  return ended, kept
end

-- After a user's revision rose: tokens made before are out of date, and everybody must hear of it.
local function user_changed(id, kept)
  local u = user(id)
  revoke('user:' .. id, tonumber(u.tokens_until) or 0)
  emit('user', 'id', id, 'revision', u.revision, 'ended_below', u.ended_below, 'kept', kept)
end

