-- How far a shard is handled; nobody else may move it until we commit.
--   $1 consumer   $2 source   $3 shard
SELECT emission, stored_at, stream, durable_created, durable_filter, first_sequence, last_sequence,
    pg_current_xact_id()::text AS transaction
FROM {schema}.consumer_positions
WHERE consumer_name = $1 AND source = $2 AND shard = $3
FOR UPDATE
