-- One dead letter, whole.
--   $1 position
SELECT position, shard, event_id::text, event_type, partition_key, reason, error, blocked,
       {readable(created_at)} AS created_at, {readable(dead_at)} AS dead_at, routing_key, {payload} AS payload, headers::text AS headers
FROM {schema}.dead_letters
WHERE position = $1
