-- Say of entries that a reader has them still, or since when nobody does: it speaks for no others.
-- KEYS: the stream. ARGV: group, reader, milliseconds that they are to count as left alone, then ids.
-- Returns the ids that are not the reader's any more.
local mine, others = {}, {}
for at = 4, #ARGV do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[at], ARGV[at], 1)[1]
  if pending and pending[2] == ARGV[2] then
    mine[#mine + 1] = ARGV[at]
  else
    others[#others + 1] = ARGV[at]
  end
end
if #mine > 0 then
  mine[#mine + 1], mine[#mine + 2], mine[#mine + 3] = 'IDLE', ARGV[3], 'JUSTID'
  redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, unpack(mine))
end
return others
