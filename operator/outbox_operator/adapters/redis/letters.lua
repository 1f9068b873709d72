-- Read dead letters, without what is large in them: anybody may have written there.
-- KEYS: the stream of dead letters.
-- ARGV: from where to where, as XRANGE takes it; most entries; most bytes of a field, of a payload, and of
--       all that is returned; name of the payload's field; then names of fields ('': all of them).
-- Returns of each entry its id, how long its payload is, as much of that as was asked for, and names and
-- values in turn. What does not fit is left out, but for the first entry.
local wanted, left = {}, tonumber(ARGV[6])
for at = 8, #ARGV do wanted[ARGV[at]] = true end
local found, entries = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', ARGV[3]), {}
for _, entry in ipairs(found) do
  local texts, data, kept, size = entry[2], '', {}, 64
  for at = 1, #texts, 2 do
    if texts[at] == ARGV[7] then
      data = texts[at + 1]
    elseif wanted[''] or wanted[texts[at]] then
      local name, value = string.sub(texts[at], 1, ARGV[4]), string.sub(texts[at + 1], 1, ARGV[4])
      if size + #name + #value + 32 <= tonumber(ARGV[6]) then
        kept[#kept + 1], kept[#kept + 2] = name, value
        size = size + #name + #value + 32
      end
    end
  end
  local shown = string.sub(data, 1, ARGV[5])
  left = left - size - #shown
  if left < 0 and #entries > 0 then break end
  entries[#entries + 1] = {entry[1], #data, shown, kept}
end
return entries
