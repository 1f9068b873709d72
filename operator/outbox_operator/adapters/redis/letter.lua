-- Put an entry that nobody can handle aside, and acknowledge it: both or nothing.
-- KEYS: the stream, the stream of dead letters.
-- ARGV: group, reader, id, most letters there may be, then names and values in turn.
-- Returns a word: OK, DONE if it is acknowledged already, TAKEN if another reader has it, FULL, TYPE if
-- the second key holds something else.
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)[1]
-- What was deleted while somebody had it is not pending either, and the letter is all that is left:
-- nobody can have it then, and an entry that is there can be had.
if not pending and
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'FORCE', 'JUSTID')[1] then
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
  return 'DONE'
end
if pending and pending[2] ~= ARGV[2] then return 'TAKEN' end
local letters = redis.pcall('XLEN', KEYS[2])
if type(letters) ~= 'number' then
  return string.find(letters.err, 'WRONGTYPE', 1, true) and 'TYPE' or letters
end
if letters >= tonumber(ARGV[4]) then return 'FULL' end
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 5))
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
return 'OK'
