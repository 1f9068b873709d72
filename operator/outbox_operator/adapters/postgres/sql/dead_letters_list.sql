-- Dead letters in order, without payloads. A NULL argument takes all.
--   $1 positions   $2 keys   $3 event types   $4 reasons   $5 after this position   $6 rows
-- Names that are longer than the table of events takes are cut, or left out: a key stands for others.
SELECT position, shard, event_id::text, left(event_type, {longest_name}) AS event_type,
       CASE WHEN octet_length(partition_key) <= {longest_name} THEN partition_key ELSE '' END
           AS partition_key,
       reason, left(error, {longest_name}) AS error, blocked, created_at, dead_at
FROM {schema}.dead_letters
WHERE ($1::bigint[] IS NULL OR position = ANY ($1))
  AND ($2::text[] IS NULL OR partition_key = ANY ($2))
  AND ($3::text[] IS NULL OR event_type = ANY ($3))
  AND ($4::text[] IS NULL OR reason = ANY ($4))
  AND position > $5
ORDER BY position
LIMIT $6
