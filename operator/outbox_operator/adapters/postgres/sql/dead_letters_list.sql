-- Dead letters in order, without payloads. A NULL argument takes all.
--   $1 positions   $2 keys   $3 event types   $4 reasons   $5 after this position   $6 rows
SELECT position, shard, event_id::text, event_type, partition_key, reason, error, blocked,
       created_at, dead_at
FROM {schema}.dead_letters
WHERE ($1::bigint[] IS NULL OR position = ANY ($1))
  AND ($2::text[] IS NULL OR partition_key = ANY ($2))
  AND ($3::text[] IS NULL OR event_type = ANY ($3))
  AND ($4::text[] IS NULL OR reason = ANY ($4))
  AND position > $5
ORDER BY position
LIMIT $6
