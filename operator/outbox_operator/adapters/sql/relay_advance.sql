-- Everything of the window up to a position is published or parked.
--   $1 shard   $2 our epoch   $3 position   $4 emission counter   $5 S2 when this ends the window
UPDATE {schema}.cursors
SET last_position = $3,
    published_at = CASE WHEN $4 > emission THEN clock_timestamp() ELSE published_at END,
    emission = $4,
    snapshot_from = coalesce($5, snapshot_from),
    snapshot_to = CASE WHEN $5::text IS NULL THEN snapshot_to END,
    updated_at = clock_timestamp()
WHERE shard = $1 AND owner_epoch = $2
RETURNING shard
