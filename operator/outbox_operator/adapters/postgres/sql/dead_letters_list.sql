-- Dead letters in order, without payloads.
--   $1 to $9 which, as dead_letters_which.sql says   $10 after this position   $11 rows
-- Names that are longer than the table of events takes are cut, or left out: a key stands for others.
SELECT position, shard, event_id::text, left(event_type, {longest_name}) AS event_type,
       CASE WHEN octet_length(partition_key) <= {longest_name} THEN partition_key ELSE '' END
           AS partition_key,
       reason, left(error, {longest_name}) AS error, blocked,
       {readable(created_at)} AS created_at, {readable(dead_at)} AS dead_at
FROM {schema}.dead_letters
WHERE {which}
  AND position > $10
ORDER BY position
LIMIT $11
