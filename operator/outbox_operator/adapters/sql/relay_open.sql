-- Fix the upper snapshot of a window before its first row is published.
--   $1 shard   $2 our epoch   $3 S1   $4 S2
UPDATE {schema}.cursors
SET snapshot_from = $3, snapshot_to = $4, last_position = 0, updated_at = clock_timestamp()
WHERE shard = $1 AND owner_epoch = $2
RETURNING shard
