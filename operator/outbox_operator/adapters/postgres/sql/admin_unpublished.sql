-- Whether a partition holds a row that is not in the given snapshots: a few index probes (BETWEEN with
-- ORDER BY keeps the planner on the index; to its statistics one xid may well be all rows).
-- Transactions under way have nothing to be seen yet, however many rows they have written.
--   $1 shards (all of them, in order; as text, which the driver knows arrays of)
--   $2 their snapshots
SELECT EXISTS (
    SELECT
    FROM (SELECT ARRAY(
{open}
    ) AS xids) u
    CROSS JOIN unnest($1::text[]::smallint[], $2::text[]) AS s (shard, snapshot)
    CROSS JOIN LATERAL (
        (SELECT found.xid
         FROM (SELECT pg_snapshot_xmax(s.snapshot::pg_snapshot) AS xid) tail
         CROSS JOIN LATERAL (
             SELECT ARRAY(SELECT x FROM unnest(u.xids) AS o (x) WHERE x >= tail.xid) AS xids
         ) o
         CROSS JOIN LATERAL unnest(
             (tail.xid::text::bigint - 1)::text::xid8 || o.xids,
             o.xids || '18446744073709551615'::xid8
         ) AS range (after, before)
         CROSS JOIN LATERAL (
             SELECT e.xid
             FROM {table} e
             WHERE e.shard = s.shard AND e.xid > range.after AND e.xid < range.before
             ORDER BY e.xid
             LIMIT 1
         ) found
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
         WHERE o.xid <> ALL (u.xids)
         LIMIT 1)
    ) r
) OR (
    SELECT e.shard FROM {table} e WHERE e.shard < ($1::text[]::smallint[])[1]
    ORDER BY e.shard, e.xid LIMIT 1
) IS NOT NULL OR (
    SELECT e.shard FROM {table} e WHERE e.shard > ($1::text[]::smallint[])[cardinality($1::text[]::smallint[])]
    ORDER BY e.shard, e.xid LIMIT 1
) IS NOT NULL
