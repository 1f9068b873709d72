-- Take over entries of a group that nobody has spoken of for so long, from whichever reader.
-- KEYS: the stream. ARGV: group, reader, milliseconds, where to go on, most entries.
-- Returns where to go on the next time ('0-0': from the start), of each entry id, fields and how often
-- it was delivered, and how many were deleted before anybody had acknowledged them.
local cursor, entries, deleted, looked = ARGV[4], {}, 0, 0
repeat
  -- The server looks at ten times as many as it may give, however few that are.
  local found = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], cursor, 'COUNT', ARGV[5])
  cursor, looked = found[1], looked + 10 * tonumber(ARGV[5])
  deleted = deleted + (found[3] and #found[3] or 0)
  for _, entry in ipairs(found[2]) do
    if entry then
      local pending = redis.call('XPENDING', KEYS[1], ARGV[1], entry[1], entry[1], 1)
      entries[#entries + 1] = {entry[1], entry[2], pending[1] and pending[1][4] or 1}
    else
      deleted = deleted + 1
    end
  end
until #entries > 0 or cursor == '0-0' or looked >= 2000
return {cursor, entries, deleted}
