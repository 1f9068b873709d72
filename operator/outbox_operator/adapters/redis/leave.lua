-- Remove readers of a group that have nothing pending: with one goes all that it has.
-- KEYS: the stream. ARGV: group, the reader that goes; '' for all readers whose names begin with what
--       follows and that were not heard of for so many milliseconds.
-- Returns how many went.
local gone = 0
for number, fields in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local reader = {}
  for at = 1, #fields, 2 do reader[fields[at]] = fields[at + 1] end
  local leaves = reader['name'] == ARGV[2]
  if ARGV[2] == '' then
    leaves = string.sub(reader['name'], 1, #ARGV[3]) == ARGV[3] and reader['idle'] > tonumber(ARGV[4])
  end
  if leaves and reader['pending'] == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], reader['name'])
    gone = gone + 1
  end
end
return gone
