-- Have entries delivered once more to the reader that has them: their count goes up.
-- KEYS: the stream. ARGV: group, reader, then ids.
-- Returns as take_over.lua: what another reader has taken meanwhile, or somebody has acknowledged, is
-- not among them.
local entries, deleted = {}, 0
for at = 3, #ARGV do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[at], ARGV[at], 1)[1]
  if pending and pending[2] == ARGV[2] then
    local found = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[at])
    if found[1] then
      entries[#entries + 1] = {found[1][1], found[1][2], pending[4] + 1}
    else
      deleted = deleted + 1
    end
  end
end
return {'0-0', entries, deleted}
