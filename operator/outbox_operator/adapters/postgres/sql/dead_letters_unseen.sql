-- A part of dead_letters_pending.sql and dead_letters_since.sql: events of a key, of shard c.shard, that a
-- snapshot does not see. Those of our own transaction are not meant, and not looked through.
        SELECT e.position, e.xid
        FROM {schema}.events e
        WHERE e.shard = c.shard AND e.partition_key = {key}
          AND e.xid >= pg_snapshot_xmax({snapshot})
          AND e.xid < coalesce(pg_current_xact_id_if_assigned(), '18446744073709551615'::xid8)
        UNION ALL
        SELECT e.position, e.xid
        FROM {schema}.events e
        WHERE e.shard = c.shard AND e.partition_key = {key}
          AND e.xid >= pg_snapshot_xmax({snapshot}) AND e.xid > pg_current_xact_id_if_assigned()
        UNION ALL
        SELECT e.position, e.xid
        FROM pg_snapshot_xip({snapshot}) AS o (xid)
        JOIN {schema}.events e ON e.shard = c.shard AND e.xid = o.xid AND e.partition_key = {key}
        WHERE o.xid IS DISTINCT FROM pg_current_xact_id_if_assigned()
