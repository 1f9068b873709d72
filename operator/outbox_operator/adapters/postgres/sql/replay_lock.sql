-- A replay, for the transaction that moves it on: of two operators the second waits.
--   $1 name
SELECT target, up_to, copied_to, ended_at
FROM {schema}.replays
WHERE name = $1
FOR UPDATE
