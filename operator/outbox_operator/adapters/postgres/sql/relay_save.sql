-- Store how far the shard is.
--   $1 shard   $2 our epoch   $3 S1   $4 S2 inside a window   $5 position   $6 emission counter
--   $7 numbers left out   $8 sequence in the stream   $9 remark   $10 when the stream was created
--   $11 what it lost   $12 earlier points, or NULL: as they are
--   $13 whether the commit waits for the disk
-- A save that a crash of the server takes back is as good as one that was not made yet, hence no
-- waiting; set for this one transaction alone, and only if there is something to commit.
UPDATE {schema}.cursors
SET snapshot_from = $3, snapshot_to = $4, last_position = $5,
    published_at = CASE WHEN $6 > emission THEN clock_timestamp() ELSE published_at END,
    emission = $6, emission_gaps = $7, stream_sequence = $8, remark = $9, stream_created = $10,
    noticed_at = CASE WHEN notice IS DISTINCT FROM $11 THEN clock_timestamp() ELSE noticed_at END,
    notice = $11, checkpoints = coalesce($12, checkpoints),
    updated_at = clock_timestamp()
WHERE shard = $1 AND owner_epoch = $2
RETURNING $13 OR set_config('synchronous_commit', 'off', true) IS NOT NULL
