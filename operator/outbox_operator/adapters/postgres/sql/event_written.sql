-- What became of an event that was written already: no row when it was not, as far as rows are kept.
--   $1 id of the event
SELECT e.position,
       c.shard IS NOT NULL AND (
           pg_visible_in_snapshot(e.xid, c.snapshot_from::pg_snapshot)
           OR (c.snapshot_to IS NOT NULL AND e.position <= c.last_position
               AND pg_visible_in_snapshot(e.xid, c.snapshot_to::pg_snapshot))) AS published,
       d.reason
FROM {schema}.events e
LEFT JOIN {schema}.cursors c ON c.shard = e.shard
LEFT JOIN {schema}.dead_letters d ON d.position = e.position
WHERE e.event_id = $1
UNION ALL
SELECT position, false, reason
FROM {schema}.dead_letters
WHERE event_id = $1
ORDER BY position DESC
LIMIT 1
