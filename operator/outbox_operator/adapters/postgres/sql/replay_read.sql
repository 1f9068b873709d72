-- How far a replay is.
--   $1 name
SELECT copied, copied_to, copied_to >= up_to AS all_copied
FROM {schema}.replays
WHERE name = $1
