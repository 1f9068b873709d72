-- Rows of a range of positions, in order; whether the relay says, by its cursor, that they are published.
--   $1 first position   $2 first position behind the range   $3 rows
SELECT e.position,
       {readable(e.created_at)} AS created_at,
       c.shard IS NOT NULL AND (
           pg_visible_in_snapshot(e.xid, c.snapshot_from::pg_snapshot)
           OR (c.snapshot_to IS NOT NULL AND e.position <= c.last_position
               AND pg_visible_in_snapshot(e.xid, c.snapshot_to::pg_snapshot))) AS due
FROM {schema}.events e
LEFT JOIN {schema}.cursors c ON c.shard = e.shard
WHERE e.position >= $1 AND e.position < $2
ORDER BY e.position
LIMIT $3
