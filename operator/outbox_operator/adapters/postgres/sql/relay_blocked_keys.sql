-- Keys with an unresolved dead letter; removing a key's dead letters unblocks it.
--   $1 shard
SELECT DISTINCT partition_key FROM {schema}.dead_letters WHERE shard = $1 AND partition_key <> ''
