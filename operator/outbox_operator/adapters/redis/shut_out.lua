-- Make an owner the one whose batches a stream takes.
-- KEYS: the companion of the stream. ARGV: owner, epoch. Returns a word and the epoch there is.
local companion = redis.call('HMGET', KEYS[1], 'created', 'owner', 'epoch')
if not companion[1] then return {'MISSING', KEYS[1]} end
if companion[2] == ARGV[1] and companion[3] and tonumber(companion[3]) > tonumber(ARGV[2]) then
  return {'OWNER', companion[3]}
end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'epoch', ARGV[2])
return {'OK', ARGV[2]}
