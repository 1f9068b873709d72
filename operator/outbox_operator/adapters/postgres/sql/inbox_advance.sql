-- The shard is handled up to here.
--   $1 consumer   $2 source   $3 shard   $4 emission   $5 when the stream took it
UPDATE {schema}.consumer_positions SET emission = $4, stored_at = $5
WHERE consumer_name = $1 AND source = $2 AND shard = $3
