-- Which of some keys have an unresolved dead letter: the answer for a few keys at any table size.
--   $1 shard   $2 keys
-- The index holds a hash of the key, since keys may be longer than what an index takes.
SELECT k.key
FROM unnest($2::text[]) AS k (key)
WHERE EXISTS (
    SELECT
    FROM {schema}.dead_letters d
    WHERE d.shard = $1 AND hashtextextended(d.partition_key, 0) = hashtextextended(k.key, 0)
      AND d.partition_key = k.key AND d.replay IS NULL
)
