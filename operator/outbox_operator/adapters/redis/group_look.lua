-- Say how a group of a stream is, without anything that is in an entry but when its event was written.
-- KEYS: the stream, its companion. ARGV: group, most bytes of any text, name of the reader that went
--       into the group when it was made.
-- Returns what the key holds; when its stream was made; the mark of the group; and of the group, if
-- there is one, the last id delivered, pending, lag (-1: not known), readers, the first id that is not
-- acknowledged ('': there is none), of the oldest entry that is not handled the id and the time; how
-- many entries it was given, as the server counts (-1: not known); whether the reader is in it (1);
-- and the largest id that was deleted from the stream ('': not known).
local function cut(text) return string.sub(text or '', 1, tonumber(ARGV[2])) end
local function number(found) return type(found) == 'number' and found or -1 end
local function fields(list)
  local found = {}
  for at = 1, #list, 2 do found[list[at]] = list[at + 1] end
  return found
end
local kind = redis.call('TYPE', KEYS[1]).ok
local created, mark = '', ''
if redis.call('TYPE', KEYS[2]).ok == 'hash' then
  local found = redis.call('HMGET', KEYS[2], 'created', 'group:' .. ARGV[1])
  created, mark = cut(found[1]), cut(found[2])
end
if kind ~= 'stream' then return {kind, created, mark} end
for _, list in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = fields(list)
  if group['name'] == ARGV[1] then
    local marked = 0
    for _, reader in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
      if fields(reader)['name'] == ARGV[3] then marked = 1 end
    end
    local first = redis.call('XPENDING', KEYS[1], ARGV[1])[2] or ''
    local last = group['last-delivered-id']
    local oldest = first ~= '' and redis.call('XRANGE', KEYS[1], first, first)[1]
      or redis.call('XRANGE', KEYS[1], '(' .. last, '+', 'COUNT', 1)[1]
    local id, time = '', ''
    if oldest then
      id = oldest[1]
      for at = 1, #oldest[2], 2 do
        if oldest[2][at] == 'Ce-Time' then time = cut(oldest[2][at + 1]) end
      end
    end
    local deleted = fields(redis.call('XINFO', 'STREAM', KEYS[1]))['max-deleted-entry-id'] or ''
    return {kind, created, mark, {
      last, group['pending'], number(group['lag']), group['consumers'] - marked, first, id, time,
      number(group['entries-read']), marked, deleted,
    }}
  end
end
return {kind, created, mark}
