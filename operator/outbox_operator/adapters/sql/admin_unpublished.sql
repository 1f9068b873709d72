-- Whether a partition holds a row that is not in the given snapshots: a few index probes.
--   $1 shards (all of them, in order)   $2 their snapshots
SELECT EXISTS (
    SELECT
    FROM unnest($1::smallint[], $2::text[]) AS s (shard, snapshot)
    CROSS JOIN LATERAL (
        (SELECT xid
         FROM {partition} e
         WHERE e.shard = s.shard AND e.xid >= pg_snapshot_xmax(s.snapshot::pg_snapshot)
         ORDER BY xid
         LIMIT 1)
        UNION ALL
        (SELECT xid
         FROM {partition} e
         WHERE e.shard = s.shard
           AND e.xid = ANY (ARRAY(SELECT pg_snapshot_xip(s.snapshot::pg_snapshot)))
         LIMIT 1)
    ) r
) OR EXISTS (SELECT FROM {partition} e WHERE e.shard < ($1::smallint[])[1])
  OR EXISTS (SELECT FROM {partition} e WHERE e.shard > ($1::smallint[])[cardinality($1::smallint[])])
