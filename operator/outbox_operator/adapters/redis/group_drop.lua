-- Delete a group of a stream, if it has a mark. KEYS: the stream, its companion. ARGV: group, mark.
if redis.call('HGET', KEYS[2], 'group:' .. ARGV[1]) ~= ARGV[2] then return 0 end
if redis.call('TYPE', KEYS[1]).ok == 'stream' then
  redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1])
end
redis.call('HDEL', KEYS[2], 'group:' .. ARGV[1])
return 1
