-- Whether all that a replay has copied is accounted for by the relay: published, or a dead letter. A
-- transaction that this server has not reached came with a dump: what of it is sent, the rebase said.
--   $1 name
SELECT r.last_xid IS NULL OR r.last_xid >= pg_snapshot_xmax(pg_current_snapshot()) OR (
    SELECT bool_and(pg_visible_in_snapshot(r.last_xid, c.snapshot_from::pg_snapshot))
    FROM {schema}.cursors c
)
FROM {schema}.replays r
WHERE r.name = $1
