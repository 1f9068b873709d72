-- The cursor of a shard, and the facts that show whether it belongs to this server: to no row of it
-- can it have given a transaction that it has not reached.
SELECT c.snapshot_from, c.snapshot_to, c.last_position, c.emission, c.emission_gaps,
       c.stream_sequence, c.remark, c.stream_created, c.notice, c.checkpoints,
       c.resent_to, c.resent_epoch, c.owner_epoch, c.system_identifier AS cursor_system,
       (SELECT system_identifier::text FROM pg_control_system()) AS server_system,
       pg_current_snapshot()::text AS server_snapshot,
       (SELECT e.xid::text FROM {schema}.events e
        WHERE e.shard = c.shard AND e.xid >= pg_snapshot_xmax(pg_current_snapshot())
        ORDER BY e.xid DESC LIMIT 1) AS newest_xid
FROM {schema}.cursors c
WHERE c.shard = $1
