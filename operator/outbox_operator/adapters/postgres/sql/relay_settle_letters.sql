-- Rows behind a point that a relay goes back to, which are dead letters or were: they are accounted for,
-- so give them a transaction that each point has seen.
--   $1 shard   $2 snapshot of the point
UPDATE {schema}.events e
SET xid = '0'::xid8
WHERE e.shard = $1 AND NOT pg_visible_in_snapshot(e.xid, $2::text::pg_snapshot)
  AND e.position IN (SELECT d.position FROM {schema}.dead_letters d WHERE d.shard = $1
                     {former})
