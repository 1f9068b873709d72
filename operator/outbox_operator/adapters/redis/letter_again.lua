-- Have the entry that a dead letter is of given to its group once more, and remove the letter: both or
-- nothing.
-- KEYS: the stream, that of dead letters.
-- ARGV: group, the reader that has the entry until another takes it over, for how many milliseconds it
--       has had it as others see it, id of the letter, number of the entry, name of the field that says
--       which event it is.
-- Returns a word: OK; DUE if the group has it or is going to be given it anyway; GONE if there is no such
-- letter; OTHER if there is no such entry; GROUP if there is no such group.
local function event(entry)
  for at = 1, #entry[2], 2 do
    if entry[2][at] == ARGV[6] then return entry[2][at + 1] end
  end
  return ''
end
local function is_above(one, other)
  -- Ids have 64 bits, and numbers of Lua 53.
  local left, right = {string.match(one, '^(%d+)-(%d+)$')}, {string.match(other, '^(%d+)-(%d+)$')}
  for at = 1, 2 do
    if #left[at] ~= #right[at] then return #left[at] > #right[at] end
    if left[at] ~= right[at] then return left[at] > right[at] end
  end
  return false
end
-- What is refused later, when something is done, is not undone: whether the letter may go, first.
redis.call('XDEL', KEYS[2], '0-0')
local letter = redis.call('XRANGE', KEYS[2], ARGV[4], ARGV[4])[1]
if not letter then return 'GONE' end
local delivered
if redis.call('TYPE', KEYS[1]).ok == 'stream' then
  for _, fields in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local group = {}
    for at = 1, #fields, 2 do group[fields[at]] = fields[at + 1] end
    if group['name'] == ARGV[1] then delivered = group['last-delivered-id'] end
  end
  if not delivered then return 'GROUP' end
end
if not delivered then return 'OTHER' end
local id
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], ARGV[5], ARGV[5], 'COUNT', 100)) do
  if event(entry) == event(letter) then
    -- Entries of somebody else say nothing of which event they are: of two nobody knows which it was.
    if id and event(letter) == '' then return 'OTHER' end
    id = id or entry[1]
  end
end
if not id then return 'OTHER' end
local due = is_above(id, delivered) or redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1]
if not due then
  local had = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id,
    'IDLE', ARGV[3], 'RETRYCOUNT', 0, 'FORCE', 'JUSTID')
  if not had[1] then return 'OTHER' end
end
redis.call('XDEL', KEYS[2], ARGV[4])
return due and 'DUE' or 'OK'
