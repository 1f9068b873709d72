-- Say what there is at a key, without anything that is in an entry.
-- KEYS: the stream, its companion. ARGV: most groups, most bytes of any text.
-- Returns what the key holds; time, UID, name and cluster of its mark; length, first id, last id that
-- it ever had, bytes (-1: not known), how many entries others than trim.lua have removed (-1: not
-- known); and of each group name, pending, lag (-1: not known), last id delivered.
local function cut(text) return string.sub(text or '', 1, tonumber(ARGV[2])) end
local kind, note = redis.call('TYPE', KEYS[1]).ok, redis.call('TYPE', KEYS[2]).ok
local mark, trimmed = {'', '', '', ''}, '0'
if note == 'hash' then
  for at, text in ipairs(redis.call('HMGET', KEYS[2], 'created', 'uid', 'name', 'cluster')) do
    mark[at] = cut(text)
  end
  trimmed = redis.call('HGET', KEYS[2], 'trimmed') or '0'
elseif note ~= 'none' then
  kind = note
end
if kind ~= 'stream' then return {kind, mark} end
local info = {}
local found = redis.call('XINFO', 'STREAM', KEYS[1])
for at = 1, #found, 2 do info[found[at]] = found[at + 1] end
local first = info['first-entry'] and info['first-entry'][1] or ''
local bytes = redis.pcall('MEMORY', 'USAGE', KEYS[1])
if type(bytes) ~= 'number' then bytes = -1 end
local removed = -1
if info['entries-added'] then
  removed = math.max(0, info['entries-added'] - info['length'] - (tonumber(trimmed) or 0))
end
local groups = {}
for number, fields in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  if number > tonumber(ARGV[1]) then break end
  local group = {}
  for at = 1, #fields, 2 do group[fields[at]] = fields[at + 1] end
  local lag = type(group['lag']) == 'number' and group['lag'] or -1
  groups[number] = {cut(group['name']), group['pending'], lag, group['last-delivered-id']}
end
return {kind, mark, {info['length'], first, info['last-generated-id'], bytes, removed}, groups}
