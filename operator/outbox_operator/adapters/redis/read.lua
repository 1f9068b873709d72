-- Read entries without their payloads, which may be large.
-- KEYS: the stream. ARGV: XRANGE or XREVRANGE, its two ends, most entries, name of the payload,
--       most bytes of any other value.
local found = redis.call(ARGV[1], KEYS[1], ARGV[2], ARGV[3], 'COUNT', ARGV[4])
for _, entry in ipairs(found) do
  local all, kept = entry[2], {}
  for at = 1, #all, 2 do
    if all[at] ~= ARGV[5] and #all[at] + #all[at + 1] <= tonumber(ARGV[6]) then
      kept[#kept + 1], kept[#kept + 2] = all[at], all[at + 1]
    end
  end
  entry[2] = kept
end
return found
