-- The first event of a shard.
--   $1 consumer   $2 source   $3 shard
INSERT INTO {schema}.consumer_positions (consumer_name, source, shard) VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING
