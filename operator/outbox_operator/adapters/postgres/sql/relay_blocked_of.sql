-- Which of some keys have an unresolved dead letter: the answer for a few keys at any table size.
--   $1 shard   $2 keys
SELECT DISTINCT partition_key FROM {schema}.dead_letters
WHERE shard = $1 AND partition_key = ANY ($2::text[])
