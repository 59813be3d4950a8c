#!lua
-- ARGV: sid, generation, digest, client_id, jkt, scope, revision, nonce, next digest, idle, token lifetime, grace,
-- redelivery.
local sid, generation, digest, client, jkt = ARGV[4], tonumber(ARGV[5]), ARGV[6], ARGV[7], ARGV[8]
local scope, revision, nonce, next_digest, idle = ARGV[9], ARGV[10], ARGV[11], ARGV[12], tonumber(ARGV[13])
local token_lifetime, grace, redelivery = tonumber(ARGV[14]), tonumber(ARGV[15]), tonumber(ARGV[16])

local r = alive(sid)
local current = r and tonumber(r.generation)
if not current then
  return { 'ended' }
elseif r.client_id ~= client or (r.jkt or '') ~= jkt then
  return { 'mismatch' }
elseif r.user and user(r.user).revision ~= revision then
  return { 'changed' }
end

local function done(outcome, made_by)
  token_made(sid, r, token_lifetime)
  return { outcome, made_by, loaded(sid, r) }
end

if generation == current and digest ~= '' and digest == r.token_digest then
  redis.call('HDEL', P .. 's:' .. sid, SHORT.confirmed_at)
  write(sid, 'generation', current + 1, 'token_digest', next_digest, 'previous_token_digest', digest,
    'nonce', nonce, 'asked', scope, 'made_at', text(NOW), 'seen_at', text(NOW))
  move(sid, r, NOW + idle)
  return done('made', nonce)
end

if generation == current - 1 and digest ~= '' and digest == r.previous_token_digest then
  if r.nonce == nonce and r.token_digest == next_digest then -- this very call, asked again
    return done('made', nonce)
  end
  if r.nonce == '' then -- an elevation has taken its place
    return { 'mismatch' }
  end
  local seen = math.min(tonumber(r.made_at) + redelivery, tonumber(r.confirmed_at) or math.huge)
  if NOW < seen + grace then
    if r.asked ~= scope then
      return { 'scope' }
    end
    return done('repeated', r.nonce)
  end
end

bury(sid, r, 'reuse')
return { 'reused' }
