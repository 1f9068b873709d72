-- Whether a partition holds a row that is not in the given snapshots: a few index probes (BETWEEN with
-- ORDER BY keeps the planner on the index; to its statistics one xid may well be all rows).
--   $1 shards (all of them, in order)   $2 their snapshots
SELECT EXISTS (
    SELECT
    FROM unnest($1::smallint[], $2::text[]) AS s (shard, snapshot)
    CROSS JOIN LATERAL (
        (SELECT xid
         FROM {table} e
         WHERE e.shard = s.shard AND e.xid >= pg_snapshot_xmax(s.snapshot::pg_snapshot)
         ORDER BY xid
         LIMIT 1)
        UNION ALL
        (SELECT late.xid
         FROM pg_snapshot_xip(s.snapshot::pg_snapshot) AS o (xid)
         CROSS JOIN LATERAL (
             SELECT e.xid
             FROM {table} e
             WHERE e.shard = s.shard AND e.xid BETWEEN o.xid AND o.xid
             ORDER BY e.xid
             LIMIT 1
         ) late
         LIMIT 1)
    ) r
) OR EXISTS (SELECT FROM {table} e WHERE e.shard < ($1::smallint[])[1])
  OR EXISTS (SELECT FROM {table} e WHERE e.shard > ($1::smallint[])[cardinality($1::smallint[])])
