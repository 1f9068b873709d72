-- Make a group of a stream, or put a mark on one that is there; how far it is stays.
-- KEYS: the stream, its companion. ARGV: group, id it begins behind, mark that may be replaced ('':
--       nobody's), mark to write.
-- Returns a word, and what is in the way.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'stream' then return {'TYPE', kind} end
if redis.call('TYPE', KEYS[2]).ok ~= 'hash' then return {'MARK', ''} end
local field = 'group:' .. ARGV[1]
local mark = redis.call('HGET', KEYS[2], field) or ''
if mark ~= '' and mark ~= ARGV[3] and mark ~= ARGV[4] then return {'MARK', ''} end
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], ARGV[2])
if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then return {'ERROR', made.err} end
redis.call('HSET', KEYS[2], field, ARGV[4])
return {'OK', ''}
