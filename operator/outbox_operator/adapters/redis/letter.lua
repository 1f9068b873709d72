-- Put an entry that nobody can handle aside, and acknowledge it: both or nothing.
-- KEYS: the stream, the stream of dead letters.
-- ARGV: group, reader, id, most letters there may be, then names and values in turn.
-- Returns a word: OK, DONE if it is acknowledged already, TAKEN if another reader has it, FULL.
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)[1]
if not pending then return 'DONE' end
if pending[2] ~= ARGV[2] then return 'TAKEN' end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[4]) then return 'FULL' end
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 5))
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
return 'OK'
