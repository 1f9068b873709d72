-- Keys with an unresolved dead letter; removing a key's dead letters unblocks it. Longer ones block
-- nobody: every event of such a key is poison by itself. Nor do copies of a replay.
--   $1 shard
SELECT DISTINCT partition_key FROM {schema}.dead_letters
WHERE shard = $1 AND partition_key <> '' AND octet_length(partition_key) <= {longest_name}
  AND replay IS NULL
