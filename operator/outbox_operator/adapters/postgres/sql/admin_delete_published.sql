-- One batch of published rows of a table without partitions, oldest first.
--   $1 shard   $2 its snapshot   $3 seconds a row is kept   $4 rows
WITH doomed AS (
    SELECT position
    FROM {schema}.events
    WHERE shard = $1 AND created_at < clock_timestamp() - make_interval(secs => $3::float8)
      AND pg_visible_in_snapshot(xid, $2::text::pg_snapshot)
    ORDER BY position
    LIMIT $4
), gone AS (
    DELETE FROM {schema}.events e USING doomed d WHERE e.position = d.position RETURNING 1
)
SELECT count(*) FROM gone
