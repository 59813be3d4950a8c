#!lua
-- ARGV: sid, user or '', revision, limit (0: none), evict or '', what it replaces (sid, digest), whose data it takes
-- (sid, digest), idle, lifetime, lifetime of the first access token (0: none), the secret's digest, the refresh token's,
-- number of methods, the methods as JSON texts, then the record's other fields and values.
local sid, id, revision, limit, evict = ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7]), ARGV[8] ~= ''
local idle, lifetime, token_lifetime = tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15])
local digest, token_digest, methods = ARGV[16], ARGV[17], tonumber(ARGV[18])
local key = P .. 's:' .. sid

-- This very call, asked again: the session as it is. One that has ended meanwhile stays dead.
local there, dead = mend(sid)
if there then
  local first = there.generation == nil and '' or there.generation == '1' and there.token_digest
  if not dead and (there.user or '') == id and there.digest == digest and first == token_digest then
    return { loaded(sid, there), {} }
  end
  return { 'changed' }
end

local u = id ~= '' and user(id)
if id ~= '' and (not u or u.deleted == '1' or u.disabled == '1' or u.revision ~= revision) then
  return { 'changed' }
end

-- What the browser showed: a session that is dead (a forgotten one: empty), or one that lives and has this secret.
local function shown(other, secret)
  if other == '' then
    return nil, nil
  end
  local r, why = mend(other)
  if not r or why then
    return r or {}, nil
  end
  local good = r.digest == secret or (r.previous_digest == secret and NOW < (tonumber(r.previous_until) or 0))
  return nil, secret ~= '' and good and r or nil
end

local dead_old, old = shown(ARGV[9], ARGV[10])
local dead_visit, visit = shown(ARGV[11], ARGV[12])
if visit and (visit.user or ARGV[11] == ARGV[9]) then
  visit = nil
end

-- Counted after the replaced one is gone, and before anything is done.
local rivals = {}
if u and limit > 0 then
  for _, one in ipairs(living(id)) do
    if not (old and one[1] == ARGV[9]) then
      rivals[#rivals + 1] = one
    end
  end
  if #rivals >= limit and not evict then
    return { 'limit' }
  end
  table.sort(rivals, function(a, b)
    for _, field in ipairs({ 'seen_at', 'created_at' }) do
      local x, y = tonumber(a[2][field]) or 0, tonumber(b[2][field]) or 0
      if x ~= y then
        return x < y
      end
    end
    return a[1] < b[1]
  end)
end

local ended = {}
local function take(other, r, keeps_data)
  for field, value in pairs(r) do
    if keeps_data and string.sub(field, 1, 2) == 'd:' then
      redis.call('HSET', key, field, value)
    end
  end
  ended[#ended + 1] = bury(other, r, 'replaced')
end
-- Dead already: from now on it says why its holder should not clear the new cookie.
local function retell(other, r)
  if r.ended then
    redis.call('HSET', P .. 's:' .. other, 'ended', 'replaced')
  else
    bury(other, r, 'replaced', true)
  end
end

if old then
  take(ARGV[9], old, not old.user or old.user == id)
elseif dead_old then
  retell(ARGV[9], dead_old)
end
if visit then
  take(ARGV[11], visit, true)
elseif dead_visit then
  retell(ARGV[11], dead_visit)
end
for i = 1, limit > 0 and #rivals - limit + 1 or 0 do
  ended[#ended + 1] = bury(rivals[i][1], rivals[i][2], 'evicted')
end

local amr = {}
for i = 1, methods do
  amr[i] = ARGV[18 + i] .. ':' .. text(NOW)
end
local ends, now = NOW + lifetime, text(NOW)
redis.call('HSET', key, 'created_at', now, 'seen_at', now, 'authenticated_at', now, 'idle', text(idle),
  'expires_at', text(ends), 'amr', '{' .. table.concat(amr, ',') .. '}', 'revision', u and revision or 0,
  'era', redis.call('HGET', P .. 'era', 'n') or 0, 'digest', digest, 'previous_digest', '', 'previous_until', 0,
  'tokens_until', 0, 'data_version', 0)
if u then
  redis.call('HSET', key, 'user', id)
end
if token_digest ~= '' then
  redis.call('HSET', key, 'generation', 1, 'token_digest', token_digest,
    'previous_token_digest', '', 'nonce', '', 'asked', '', 'made_at', now)
end
put(key, ARGV, 19 + methods)
local made = hash(key)
move(sid, made, idle)
if token_lifetime > 0 then
  local till = math.min(NOW + token_lifetime, ends)
  tokens_live(key, till)
  if u then
    tokens_live(P .. 'u:' .. id, till)
  end
end
sweep()
return { loaded(sid, made), ended }
