-- Delete a stream with its companion, if it has a mark. KEYS: both. ARGV: UID of the mark.
if redis.call('HGET', KEYS[2], 'uid') ~= ARGV[1] then return 0 end
redis.call('UNLINK', KEYS[1], KEYS[2])
return 1
