#!lua flags=no-writes
-- ARGV: sid. Writes nothing, so a server that is full still answers; what cannot be read the caller ends.
local r, why = find(ARGV[4])
if not r then
  return nil
elseif why then
  return { why == 'broken' and not r.ended and 'broken' or 'ended', ARGV[4], r.user or '', why }
end
return loaded(ARGV[4], r)
