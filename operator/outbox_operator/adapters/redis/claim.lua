-- Make a stream with its companion, or put a mark on one that is there; its entries stay.
-- KEYS: the stream, its companion.
-- ARGV: when, in RFC 3339; UID of the mark that may be replaced ('': nobody's); UID, name and cluster
--       of the mark to write. With an empty UID none is written.
-- Returns a word, and when the stream was made, or what is in the way.
local kind, note = redis.call('TYPE', KEYS[1]).ok, redis.call('TYPE', KEYS[2]).ok
if kind ~= 'none' and kind ~= 'stream' then return {'TYPE', kind, KEYS[1]} end
if note ~= 'none' and note ~= 'hash' then return {'TYPE', note, KEYS[2]} end
local mark = redis.call('HGET', KEYS[2], 'uid') or ''
if mark ~= '' and mark ~= ARGV[2] and mark ~= ARGV[3] then return {'MARK', mark, KEYS[2]} end
if kind == 'none' then
  -- The only command that makes a stream without an entry.
  redis.call('XGROUP', 'CREATE', KEYS[1], 'outbox', '$', 'MKSTREAM')
  redis.call('XGROUP', 'DESTROY', KEYS[1], 'outbox')
  redis.call('DEL', KEYS[2])
end
redis.call('HSETNX', KEYS[2], 'created', ARGV[1])
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[2], 'uid', ARGV[3], 'name', ARGV[4], 'cluster', ARGV[5])
end
return {'OK', redis.call('HGET', KEYS[2], 'created'), ''}
