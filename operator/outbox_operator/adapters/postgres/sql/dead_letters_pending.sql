-- Whether events of a key wait that the relay has not accounted for: they would overtake.
--   $1 key
SELECT EXISTS (
    SELECT
    FROM {schema}.cursors c
    CROSS JOIN LATERAL (
        SELECT e.position, e.xid
        FROM {schema}.events e
        WHERE e.shard = c.shard AND e.xid >= pg_snapshot_xmax(c.snapshot_from::pg_snapshot)
          AND e.partition_key = $1
        UNION ALL
        SELECT e.position, e.xid
        FROM pg_snapshot_xip(c.snapshot_from::pg_snapshot) AS o (xid)
        JOIN {schema}.events e ON e.shard = c.shard AND e.xid = o.xid AND e.partition_key = $1
    ) unseen
    WHERE c.snapshot_to IS NULL OR unseen.position > c.last_position
       OR NOT pg_visible_in_snapshot(unseen.xid, c.snapshot_to::pg_snapshot)
)
