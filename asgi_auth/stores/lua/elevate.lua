#!lua
-- ARGV: sid, the digest that must be current, the new one, acr or '', token lifetime, the methods as JSON texts.
local sid, old, new, acr, token_lifetime = ARGV[4], ARGV[5], ARGV[6], ARGV[7], tonumber(ARGV[8])
local r = alive(sid)
local generation = r and tonumber(r.generation)
local current = r and (generation and r.token_digest or r.digest)
if not r or not r.user or current == '' then
  return nil
elseif current == new then -- this very call, asked again
  return loaded(sid, r)
elseif current ~= old then
  return nil
end

-- The methods stand as a JSON object of numbers, in which no name can hold what ends one: each goes and comes anew.
local amr = string.sub(r.amr, 2, -2)
for i = 9, #ARGV do
  local name = ARGV[i] .. ':'
  local from, till = string.find(',' .. amr, ',' .. name, 1, true)
  if from then
    local rest = string.match(amr, '^[^,]*,?(.*)', till)
    amr = string.sub(amr, 1, from - 1) .. rest
    amr = string.gsub(amr, ',$', '')
  end
  amr = amr .. (amr == '' and '' or ',') .. name .. text(NOW)
end
write(sid, 'amr', '{' .. amr .. '}', 'authenticated_at', text(NOW), 'secret_at', text(NOW))
if acr ~= '' then
  write(sid, 'acr', acr)
end
if generation then
  redis.call('HDEL', P .. 's:' .. sid, SHORT.confirmed_at)
  write(sid, 'generation', generation + 1, 'token_digest', new, 'previous_token_digest', old, 'nonce', '',
    'asked', '', 'made_at', text(NOW))
  token_made(sid, r, token_lifetime)
else
  write(sid, 'digest', new, 'previous_digest', '', 'previous_until', 0)
end
emit('changed', 'sid', sid, 'data_version', r.data_version or 0)
return loaded(sid, r)
