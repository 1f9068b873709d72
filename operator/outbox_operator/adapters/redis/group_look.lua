-- Say how a group of a stream is, without anything that is in an entry but when its event was written.
-- KEYS: the stream, its companion. ARGV: group, most bytes of any text.
-- Returns what the key holds; when its stream was made; the mark of the group; and of the group, if
-- there is one, the last id delivered, pending, lag (-1: not known), readers, the first id that is not
-- acknowledged ('': there is none), and of the oldest entry that is not handled the id and the time.
local function cut(text) return string.sub(text or '', 1, tonumber(ARGV[2])) end
local kind = redis.call('TYPE', KEYS[1]).ok
local created, mark = '', ''
if redis.call('TYPE', KEYS[2]).ok == 'hash' then
  local found = redis.call('HMGET', KEYS[2], 'created', 'group:' .. ARGV[1])
  created, mark = cut(found[1]), cut(found[2])
end
if kind ~= 'stream' then return {kind, created, mark} end
for _, fields in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for at = 1, #fields, 2 do group[fields[at]] = fields[at + 1] end
  if group['name'] == ARGV[1] then
    local lag = type(group['lag']) == 'number' and group['lag'] or -1
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
    return {kind, created, mark, {last, group['pending'], lag, group['consumers'], first, id, time}}
  end
end
return {kind, created, mark}
