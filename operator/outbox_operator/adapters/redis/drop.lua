-- Delete a stream with its companion and its consumers' dead letters, if it has a mark.
-- KEYS: all three. ARGV: UID of the mark.
-- What somebody has put in the place of the stream, and is none, stays.
if redis.call('HGET', KEYS[2], 'uid') ~= ARGV[1] then return 0 end
if redis.call('TYPE', KEYS[1]).ok == 'stream' then redis.call('UNLINK', KEYS[1]) end
if redis.call('TYPE', KEYS[3]).ok == 'stream' then redis.call('UNLINK', KEYS[3]) end
redis.call('UNLINK', KEYS[2])
return 1
