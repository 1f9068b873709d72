-- The cursor of a shard, and the facts that show whether it belongs to this server: to no row of it
-- can it have given a transaction that it has not reached. (The newest column of events is named so
-- that a relay notices a schema of before; rows are read by statements that need it.)
SELECT c.snapshot_from, c.snapshot_to, c.last_position, c.emission, c.emission_gaps,
       c.stream_sequence, c.remark, c.stream_created, c.notice, c.checkpoints,
       c.resent_to, c.resent_epoch, c.owner_epoch, c.system_identifier AS cursor_system,
       (SELECT system_identifier::text FROM pg_control_system()) AS server_system,
       pg_current_snapshot()::text AS server_snapshot,
       current_setting('track_commit_timestamp')::bool AS commit_times,
       (SELECT e.xid::text FROM {schema}.events e
        WHERE e.shard = c.shard AND e.xid >= pg_snapshot_xmax(pg_current_snapshot())
          AND (e.replay IS NULL OR e.replay IS NOT NULL)
        ORDER BY e.xid DESC LIMIT 1) AS newest_xid
FROM {schema}.cursors c
WHERE c.shard = $1
