-- Stands before every script: the clock, who is alive, how a session ends, how an event is told.
--
-- ARGV: 1 the prefix with the hash tag of a partition, 2 a test's clock or '', 3 the nonce of this call; the verb's own
-- follow. A store has one partition or several (`redis_layout.py`), and this is one of them. A name is what ARGV[1] says and
--   s:<sid>     hash     a session (its data as d:<key>), or its tombstone, which has `ended`; names as in SHORT
--   u:<user>    hash     a user's row, and what only the store needs to know
--   i:<user>    zset     the user's sessions, scored by the second after their end, but no pending ones; it lists and
--                        counts, it never decides
--   due         zset     users with sessions, scored by when to look at the first of them: never too late
--   n:<name>    string   whose name that is; with several partitions, in the one that the name leads to
--   r:<name>    string   until when nobody else gets a name that was reserved; with several partitions alone
--   users       zset     the ids of users, in their order
--   era         hash     n, and why and when it rose last; with several partitions the same in each, but while it rises
--   events      stream   the feed; the channel of the same name repeats it
--   readers     hash     by name: how many beats, the entry and its nonce up to which all is applied, the lease
--   dead        zset     revocations in their order;  dead:until  the same, scored by when they are over
--   x:<key>     string   until when something was seen before, and the nonce of the call that saw it first
--   h:<key>     hash     a throttle's counter;  keys, once:<name>  strings; all of these in the first partition, but
--                        once:epoch, the name of a partition's history
--   swept       string   the nonce and outcome of the last step of `sweep`
-- so what a script needs lies in one slot of a cluster, which routes by KEYS[1]; the others are found on the way. KEYS[2]
-- never exists: while a slot is moved key by key its node refuses the whole script instead of running half of it. What
-- concerns several partitions is several scripts, in an order that `redis_create`, `redis_users` and `redis_history` say.
--
-- Numbers leave as text with 17 digits: Lua's own conversion has 14, and a reply would cut off the fraction. Nothing is
-- decoded from JSON here, so nothing is lost to it.
local P, NOW, NONCE = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local TOMBSTONE, FEED = 3600, 16384
local UNTOLD = 24 * 3600

-- The fields of a session have names of one letter in the store (`codec.py` has the same), so that it is small enough for
-- the server to keep it in one piece: no value has more than 64 bytes, a user agent is cut into g, g1, g2, …
local SHORT = {
  user = 'u', backend = 'b', address = 'a', user_agent = 'g', amr = 'm', remember = 'k', digest = 'h',
  previous_digest = 'p', created_at = 'c', seen_at = 's', authenticated_at = 'l', idle = 'i', idle_expires_at = 'j',
  expires_at = 'e', previous_until = 'q', tokens_until = 't', revision = 'r', era = 'n', data_version = 'v',
  client_id = 'C', granted = 'G', generation = 'N', token_digest = 'H', previous_token_digest = 'P', nonce = 'O',
  asked = 'A', made_at = 'M', confirmed_at = 'F', acr = 'x', pending = 'w', secret_at = 'y', jkt = 'K',
}
local LONG = {}
for long, short in pairs(SHORT) do
  LONG[short] = long
end

if not NOW then
  local time = redis.call('TIME')
  NOW = time[1] + time[2] / 1000000
end

local function text(number)
  return string.format('%.17g', number)
end

-- A hash as a table, by other names where `names` has them; nil if there is none. Something else than a hash is one
-- without any field that we know.
local function hash(key, names)
  local flat = redis.pcall('HGETALL', key)
  if flat.err then
    return {}
  elseif #flat == 0 then
    return nil
  end
  local fields = {}
  for i = 1, #flat, 2 do
    fields[names and names[flat[i]] or flat[i]] = flat[i + 1]
  end
  return fields
end

local function session(sid)
  return hash(P .. 's:' .. sid, LONG)
end

local function write(sid, ...)
  local flat = { ... }
  for i = 1, #flat, 2 do
    flat[i] = SHORT[flat[i]] or flat[i]
  end
  redis.call('HSET', P .. 's:' .. sid, unpack(flat))
end

-- One by one: `unpack` of thousands of data keys would not fit on Lua's stack.
local function put(key, list, from)
  for i = from, #list, 2 do
    redis.call('HSET', key, list[i], list[i + 1])
  end
end

-- A TTL tidies up and never decides: an hour after the end, by the distance, whatever clock is used; a day, if somebody
-- is to be told of the end and nobody has swept.
local function lives_until(key, at, told)
  local ms = math.ceil((at - NOW + (told and UNTOLD or TOMBSTONE)) * 1000)
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
  local r = session(sid)
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

-- Revocations must not vanish before their time, so they have no TTL: `sweep` takes them away.
local function revoke(member, till)
  if till > NOW then
    redis.call('ZADD', P .. 'dead', 0, member)
    redis.call('ZADD', P .. 'dead:until', 'GT', text(till), member)
  end
end

-- A session becomes a tombstone, whatever it was. `quiet`: its user's event and revocation stand for it.
local function bury(sid, r, reason, quiet)
  local key = P .. 's:' .. sid
  redis.call('DEL', key)
  write(sid, 'ended', reason, 'forget_at', text(NOW + TOMBSTONE), 'by', NONCE)
  if r.user then
    write(sid, 'user', r.user)
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

-- Whether a secret with this digest opens a session: the current one, or the one before it in its grace.
local function shows(r, digest)
  return digest ~= '' and (r.digest == digest or (r.previous_digest == digest and NOW < (tonumber(r.previous_until) or 0)))
end

-- The data of a session, keys and values in turn.
local function data(r)
  local found = {}
  for field, value in pairs(r) do
    if string.sub(field, 1, 2) == 'd:' then
      found[#found + 1] = string.sub(field, 3)
      found[#found + 1] = value
    end
  end
  return found
end

-- For scripts that write: the session if it lives, else nil, what is left of it, and why it is dead. A record that cannot
-- be read ends here, and nothing else does.
local function alive(sid, by)
  local r, why = find(sid, by)
  if why == 'broken' and not r.ended then
    bury(sid, r, 'broken')
    r.ended = 'broken'
  end
  if why then
    return nil, r, why
  end
  return r
end

-- A dead session (`gone`: what is left of it, if anything; `why`) whose cookie nobody should clear any more. The session,
-- if it was a user's and nobody has told its end.
local function superseded(sid, gone, why)
  if gone.ended then
    write(sid, 'ended', 'replaced', 'forget_at', text(math.max(tonumber(gone.forget_at) or 0, NOW + TOMBSTONE)))
    redis.call('EXPIRE', P .. 's:' .. sid, TOMBSTONE)
    return nil
  end
  local told = gone.user and not gone.pending
  bury(sid, gone, 'replaced', not told)
  return told and { sid, gone.user, why } or nil
end

-- A living session's new idle end: in the record, in the indexes, in the TTLs.
local function move(sid, r, idle_end)
  local ends = math.min(idle_end, tonumber(r.expires_at))
  write(sid, 'idle_expires_at', text(ends))
  local told = r.user and not r.pending
  lives_until(P .. 's:' .. sid, ends, told)
  if told then
    local second = math.ceil(ends)
    redis.call('ZADD', P .. 'i:' .. r.user, second, sid)
    redis.call('ZADD', P .. 'due', 'LT', second, r.user)
    lives_until(P .. 'i:' .. r.user, ends, told)
  end
end

-- The user's living sessions, {sid, record} each, the longest-lived `most` if given; the index loses what is no more. What
-- is over and was told to nobody stays there: only there `sweep` finds it.
local function living(id, most)
  local found, by = {}, judges(id)
  for _, sid in ipairs(redis.call('ZRANGE', P .. 'i:' .. id, 0, most and most - 1 or -1, 'REV')) do
    local r, gone = alive(sid, by)
    if r and r.user == id then
      found[#found + 1] = { sid, r }
    elseif r or not gone or gone.ended then
      redis.call('ZREM', P .. 'i:' .. id, sid)
    end
  end
  return found
end

-- An access token was made: until when it must be remembered if its session or user dies. Never earlier than before.
local function token_made(sid, r, lifetime)
  local till = math.min(NOW + lifetime, tonumber(r.expires_at))
  if till > (tonumber(r.tokens_until) or 0) then
    write(sid, 'tokens_until', text(till))
  end
  local key = r.user and P .. 'u:' .. r.user
  if key and till > (tonumber(redis.call('HGET', key, 'tokens_until')) or 0) then
    redis.call('HSET', key, 'tokens_until', text(till))
  end
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
    if r and r.user == id and not r.pending then
      kept = keep
      write(keep, 'revision', text(revision))
      if digest ~= '' then
        write(keep, 'digest', digest, 'previous_digest', '', 'previous_until', 0, 'secret_at', text(NOW))
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

