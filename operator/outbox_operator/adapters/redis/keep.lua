-- Say of entries that a reader has them still, or since when nobody does: it speaks for no others.
-- KEYS: the stream. ARGV: group, reader, milliseconds that they are to count as left alone, then ids.
-- Returns the ids that are not the reader's any more, and how many of these it had and were deleted:
-- the server forgets what it is told to keep and has no more.
local mine, gone = {}, {}
for at = 4, #ARGV do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[at], ARGV[at], 1)[1]
  if pending and pending[2] == ARGV[2] then
    mine[#mine + 1] = ARGV[at]
  else
    gone[#gone + 1] = ARGV[at]
  end
end
if #mine == 0 then return {gone, 0} end
local count, kept = #mine, {}
mine[count + 1], mine[count + 2], mine[count + 3] = 'IDLE', ARGV[3], 'JUSTID'
for _, id in ipairs(redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, unpack(mine))) do
  kept[id] = true
end
local deleted = 0
for at = 1, count do
  if not kept[mine[at]] then gone[#gone + 1], deleted = mine[at], deleted + 1 end
end
return {gone, deleted}
