-- Per shard the snapshot in which everything is published, and what tells whose server it is from.
SELECT c.shard, c.snapshot_from, c.system_identifier AS cursor_system,
       (SELECT system_identifier::text FROM pg_control_system()) AS server_system,
       pg_snapshot_xmax(coalesce(c.snapshot_to, c.snapshot_from)::pg_snapshot)::text::bigint
           AS seen_xid,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS server_xid,
       (SELECT e.xid::text::bigint FROM {schema}.events e
        WHERE e.shard = c.shard AND e.xid >= pg_snapshot_xmax(pg_current_snapshot())
        ORDER BY e.xid DESC LIMIT 1) AS newest_xid
FROM {schema}.cursors c
ORDER BY c.shard
