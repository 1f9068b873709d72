-- Remove the oldest entries of a stream that are too many, and of these only what no group needs:
-- what each has been given, and none has still to acknowledge. Little at a time: meanwhile the server
-- does nothing else.
-- KEYS: the stream, its companion.
-- ARGV: UID of the mark that the stream has to have, most entries that shall stay, most that go now,
--       then groups that have to be there, each with a reader in it: of one that was deleted, or made
--       anew by somebody, nobody knows here what it still needs.
-- Returns a word, how many went, and the group that keeps the next.
local function before(one, other)
  -- Ids have 64 bits, and numbers of Lua 53.
  local left, right = {string.match(one, '^(%d+)-(%d+)$')}, {string.match(other, '^(%d+)-(%d+)$')}
  for at = 1, 2 do
    if #left[at] ~= #right[at] then return #left[at] < #right[at] end
    if left[at] ~= right[at] then return left[at] < right[at] end
  end
  return false
end
if redis.call('HGET', KEYS[2], 'uid') ~= ARGV[1] then return {'MARK', 0, ''} end
local surplus = redis.call('XLEN', KEYS[1]) - tonumber(ARGV[2])
if surplus <= 0 then return {'DONE', 0, ''} end
local groups, there = {}, {}
for number, fields in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for at = 1, #fields, 2 do group[fields[at]] = fields[at + 1] end
  there[group['name']] = true
  local oldest = redis.call('XPENDING', KEYS[1], group['name'])[2]
  groups[number] = {group['name'], oldest, group['last-delivered-id']}
end
local function has(group, reader)
  if not there[group] then return false end
  for _, fields in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], group)) do
    for at = 1, #fields, 2 do
      if fields[at] == 'name' and fields[at + 1] == reader then return true end
    end
  end
  return false
end
for at = 4, #ARGV, 2 do
  if not has(ARGV[at], ARGV[at + 1]) then return {'KEPT', 0, string.sub(ARGV[at], 1, 200)} end
end
local function needs(id)
  for _, group in ipairs(groups) do
    if group[2] then
      if not before(id, group[2]) then return group[1] end
    elseif before(group[3], id) then
      return group[1]
    end
  end
end
local most = math.min(surplus, tonumber(ARGV[3]))
local entries = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', most + 1)
local count, keeper = 0, nil
while count < most do
  keeper = needs(entries[count + 1][1])
  if keeper then break end
  count = count + 1
end
if count > 0 then
  redis.call('XTRIM', KEYS[1], 'MINID', entries[count + 1][1])
  -- What else is missing, others have removed.
  local trimmed = tonumber(redis.call('HGET', KEYS[2], 'trimmed') or '0') + count
  redis.call('HSET', KEYS[2], 'trimmed', string.format('%.0f', trimmed))
end
if keeper then return {'KEPT', count, string.sub(keeper, 1, 200)} end
return {count < surplus and 'MORE' or 'DONE', count, ''}
