-- Append a batch to a stream: all of it or nothing, unless the server fails in the middle.
-- KEYS: the stream, its companion.
-- ARGV: owner, epoch, number of the last id that there has to be ('': any), then of each entry its
--       number, how many texts follow, and these: names and values in turn.
-- Returns a word, how many entries are stored, and what there was instead.
local function is_above(one, other)
  -- Ids have 64 bits, and numbers of Lua 53.
  if #one ~= #other then return #one > #other end
  return one > other
end
local companion = redis.call('HMGET', KEYS[2], 'created', 'owner', 'epoch')
if not companion[1] then return {'MISSING', 0, KEYS[2]} end
if companion[2] then
  if companion[2] ~= ARGV[1] then return {'OWNER', 0, 'another owner'} end
  if tonumber(companion[3] or 0) > tonumber(ARGV[2]) then return {'OWNER', 0, companion[3]} end
end
local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
if info.err then
  if string.find(info.err, 'no such key', 1, true) then return {'MISSING', 0, KEYS[1]} end
  return {'ERROR', 0, info.err}
end
local last, left = nil, '0'
for at = 1, #info, 2 do
  if info[at] == 'last-generated-id' then last = info[at + 1] end
  if info[at] == 'last-entry' and info[at + 1] then left = string.match(info[at + 1][1], '^%d+') end
end
local number = string.match(last, '^%d+')
-- Who looked for the end found the last that is left: later ones may have been deleted.
if ARGV[3] ~= '' and number ~= ARGV[3] and left ~= ARGV[3] then return {'FENCE', 0, last} end
if not is_above(ARGV[4], number) then return {'BEHIND', 0, last} end
-- A server without room refuses the first write of a script, and none behind it.
local stored, at = 0, 4
while at <= #ARGV do
  local texts = tonumber(ARGV[at + 1])
  local id = redis.pcall('XADD', KEYS[1], ARGV[at] .. '-0', unpack(ARGV, at + 2, at + 1 + texts))
  if type(id) == 'table' and id.err then return {'ERROR', stored, id.err} end
  stored, at = stored + 1, at + 2 + texts
end
if companion[3] ~= ARGV[2] then redis.call('HSET', KEYS[2], 'owner', ARGV[1], 'epoch', ARGV[2]) end
return {'OK', stored, ''}
