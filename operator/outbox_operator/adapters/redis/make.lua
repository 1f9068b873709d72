-- Make a stream with its companion; what is there stays.
-- KEYS: the stream, its companion. ARGV: when, in RFC 3339.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then
  -- The only command that makes a stream without an entry.
  redis.call('XGROUP', 'CREATE', KEYS[1], 'outbox', '$', 'MKSTREAM')
  redis.call('XGROUP', 'DESTROY', KEYS[1], 'outbox')
  redis.call('DEL', KEYS[2])
elseif kind ~= 'stream' then
  return {'TYPE', kind}
end
if redis.call('HSETNX', KEYS[2], 'created', ARGV[1]) == 1 then return {'MADE', ARGV[1]} end
return {'THERE', redis.call('HGET', KEYS[2], 'created')}
