#!lua
-- ARGV: sid, limit (0: none), evict or '', what it replaces (sid, digest), whose data it takes (sid, digest), whether it
-- is only asked ('': it is made), whether it completes what it replaces or '', number of methods, the methods as JSON
-- texts, then fields and values: the record as it would be if the clock stood at 0, the data.
local sid, limit, evict, methods = ARGV[4], tonumber(ARGV[5]), ARGV[6] ~= '', tonumber(ARGV[13])
local new = {}
for i = 14 + methods, #ARGV, 2 do
  new[LONG[ARGV[i]] or ARGV[i]] = ARGV[i + 1]
end
local id, key = new.user, P .. 's:' .. sid

-- This very call, asked again: the session as it is. One that has ended meanwhile stays dead.
local there, dead = alive(sid)
if there and there.user == id and there.digest == new.digest and there.generation == new.generation
  and there.token_digest == new.token_digest then
  return { loaded(sid, there), {} }
elseif there or dead then
  return { 'changed' }
end

local u = id and user(id)
if id and (not u or u.deleted == '1' or u.disabled == '1' or u.revision ~= new.revision) then
  return { 'changed' }
end

-- What the browser showed: a session that lives and has this secret, or one that is dead (a forgotten one: empty).
local function shown(other, secret)
  if other == '' then
    return nil
  end
  local r, gone, why = alive(other)
  if not r then
    return nil, gone or {}, why
  end
  return shows(r, secret) and r or nil
end
local old, dead_old, why_old = shown(ARGV[7], ARGV[8])
local visit, dead_visit, why_visit = shown(ARGV[9], ARGV[10])
if ARGV[12] ~= '' and not (old and old.pending) then
  return { 'over' }
end
if ARGV[9] == ARGV[7] then -- shown twice: its end is told once
  visit, dead_visit = nil, nil
elseif visit and visit.user then
  visit = nil
end

-- Counted after the replaced one is gone, and before anything is done.
local rivals = {}
if u and limit > 0 and not new.pending then
  for _, one in ipairs(living(id)) do
    if not (old and one[1] == ARGV[7]) then
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

if ARGV[11] ~= '' then
  return { 'free' }
end

-- The place of what was shown is taken: a living session ends and may leave its data; a dead one says from now on why
-- its holder should not clear the new cookie.
local ended = {}
local function replace(other, r, gone, why, keeps_data)
  if r then
    for field, value in pairs(r) do
      if keeps_data and string.sub(field, 1, 2) == 'd:' then
        redis.call('HSET', key, field, value)
      end
    end
    ended[#ended + 1] = bury(other, r, 'replaced')
  elseif gone then
    ended[#ended + 1] = superseded(other, gone, why)
  end
end
replace(ARGV[7], old, dead_old, why_old, old and (not old.user or old.user == id))
replace(ARGV[9], visit, dead_visit, why_visit, true)
for i = 1, limit > 0 and #rivals - limit + 1 or 0 do
  ended[#ended + 1] = bury(rivals[i][1], rivals[i][2], 'evicted')
  if rivals[i][1] == ARGV[7] then -- shown by a secret that is no more
    superseded(ARGV[7], { ended = 'evicted' })
  end
end

local amr, now = {}, text(NOW)
for i = 1, methods do
  amr[i] = ARGV[13 + i] .. ':' .. now
end
put(key, ARGV, 14 + methods)
write(sid, 'created_at', now, 'seen_at', now, 'authenticated_at', text(NOW + new.authenticated_at),
  'tokens_until', 0, 'expires_at', text(NOW + new.expires_at),
  'amr', '{' .. table.concat(amr, ',') .. '}', 'era', redis.call('HGET', P .. 'era', 'n') or 0)
if new.generation then
  write(sid, 'made_at', now)
end
local made = session(sid)
move(sid, made, NOW + tonumber(made.idle))
if new.generation then
  token_made(sid, made, tonumber(new.tokens_until))
end
return { loaded(sid, made), ended }
