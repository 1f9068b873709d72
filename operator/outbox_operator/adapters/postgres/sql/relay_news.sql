-- Which of some shards have rows that became visible since snapshot S, and the snapshot of this
-- statement: one question in place of a poll for each. A probe of the (shard, xid) index each, or as
-- many as transactions were open meanwhile; what is under way is passed over.
--   $1 shards   $2 xmax of S   $3 xids that were open in S   $4 position to begin at
--   $5 position to end at
-- Those two leave one partition, as parameters do and what the statement finds out itself does not.
WITH now AS MATERIALIZED (
    SELECT pg_current_snapshot() AS snapshot
),
open AS MATERIALIZED (
    SELECT ($2::text::bigint - 1)::text::xid8 || began.xids || late.before AS after,
           began.xids || pg_snapshot_xmax(now.snapshot) || late.behind AS before
    FROM now
    CROSS JOIN LATERAL (
        SELECT ARRAY(SELECT x FROM pg_snapshot_xip(now.snapshot) AS o (x)
                     WHERE x >= $2::text::xid8) AS xids
    ) began
    -- One that was open is what lies between the id before and the id behind.
    CROSS JOIN LATERAL (
        SELECT coalesce(array_agg((x::text::bigint - 1)::text::xid8), '{}') AS before,
               coalesce(array_agg((x::text::bigint + 1)::text::xid8), '{}') AS behind
        FROM unnest($3::text[]::xid8[]) AS o (x)
        WHERE pg_visible_in_snapshot(x, now.snapshot)
    ) late
)
SELECT now.snapshot::text AS snapshot,
       (SELECT q.last_value FROM {sequence} q) AS position,
       ARRAY(
           SELECT s.shard
           FROM unnest($1::smallint[]) AS s (shard)
           WHERE (
               SELECT e.xid
               FROM unnest(open.after, open.before) AS range (after, before)
               CROSS JOIN LATERAL (
                   SELECT xid
                   FROM {schema}.events
                   WHERE shard = s.shard AND xid > range.after AND xid < range.before
                     AND position >= $4 AND position <= $5
                   ORDER BY xid
                   LIMIT 1
               ) e
               LIMIT 1
           ) IS NOT NULL
       ) AS shards
FROM now, open
