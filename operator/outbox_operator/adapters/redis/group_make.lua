-- Make a group of a stream, or put a mark on one that is there. With the mark beside the stream goes a
-- reader that never reads into the group: it goes with the group, and shows that another was made.
-- KEYS: the stream, its companion.
-- ARGV: group, id it begins behind, mark that may be replaced ('': nobody's), mark to write, names of
--       the readers that go with these two, whether one that is there is set to that id (1) or stays
--       where it is.
-- Returns a word, and what is in the way.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'stream' then return {'TYPE', kind} end
if redis.call('TYPE', KEYS[2]).ok ~= 'hash' then return {'MARK', ''} end
local field = 'group:' .. ARGV[1]
local mark = redis.call('HGET', KEYS[2], field) or ''
if mark ~= '' and mark ~= ARGV[3] and mark ~= ARGV[4] then return {'MARK', ''} end
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], ARGV[2])
if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then return {'ERROR', made.err} end
if made.err and ARGV[7] == '1' then redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], ARGV[2]) end
redis.call('XGROUP', 'CREATECONSUMER', KEYS[1], ARGV[1], ARGV[6])
if ARGV[5] ~= '' and ARGV[5] ~= ARGV[6] then
  redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[5])
end
redis.call('HSET', KEYS[2], field, ARGV[4])
return {'OK', ''}
