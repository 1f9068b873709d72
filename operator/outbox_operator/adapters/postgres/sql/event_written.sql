-- What became of an event that was written already, and in what its row differs from the one that is
-- meant: no row when it was not, as far as rows are kept.
--   $1 id of the event
--   $2 its type
--   $3 its key
--   $4 its routing key
--   $5 its payload
SELECT w.published AND NOT w.given_up AS published, w.reason AS dead_letter, w.given_up,
       concat_ws(', ', CASE WHEN w.event_type <> $2 THEN 'type' END,
                       CASE WHEN w.partition_key <> $3 THEN 'key' END,
                       CASE WHEN w.routing_key IS DISTINCT FROM $4 THEN 'routing key' END,
                       CASE WHEN w.payload <> $5 THEN 'payload' END) AS differs
FROM (
    SELECT e.position, e.event_type, e.partition_key, e.routing_key, e.payload,
           c.shard IS NOT NULL AND (
               pg_visible_in_snapshot(e.xid, c.snapshot_from::pg_snapshot)
               OR (c.snapshot_to IS NOT NULL AND e.position <= c.last_position
                   AND pg_visible_in_snapshot(e.xid, c.snapshot_to::pg_snapshot))) AS published,
           d.reason, {given_up} AS given_up
    FROM {schema}.events e
    LEFT JOIN {schema}.cursors c ON c.shard = e.shard
    LEFT JOIN {schema}.dead_letters d ON d.position = e.position
    WHERE e.event_id = $1
    UNION ALL
    SELECT position, event_type, partition_key, routing_key, payload, false, reason, false
    FROM {schema}.dead_letters
    WHERE event_id = $1
) w
ORDER BY w.position DESC
LIMIT 1
