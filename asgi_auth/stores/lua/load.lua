#!lua flags=no-writes
-- ARGV: sids. Of each: what it is. Writes nothing, so a server that is full still answers; what cannot be read the caller
-- ends.
local found = {}
for i = 4, #ARGV do
  local r, why = find(ARGV[i])
  if not r then
    found[#found + 1] = { 'unknown' }
  elseif why then
    found[#found + 1] = { why == 'broken' and not r.ended and 'broken' or 'ended', ARGV[i], r.user or '', why }
  else
    found[#found + 1] = loaded(ARGV[i], r)
  end
end
return found
