-- Everything that became visible since snapshot S1, and the snapshot of this very statement, S2.
-- In READ COMMITTED both come from the same snapshot, so what is in S2 is also in the result.
--   $1 shard   $2 xmax of S1   $3 rows wanted plus one   $4 bytes   $5 largest row that is sent
--   whole   $6 xids that were open in S1, if there were any
-- A transaction is invisible to S1 when it is one of $6 or not below $2: two index ranges of
-- (shard, xid). The first is relay_poll_late.sql, left out where no transaction was open: it would
-- be a third of what an idle poll costs.
-- A transaction that this server has not reached yet belongs to another one (rows that were
-- restored); without the upper bound its rows would be found again by every poll.
-- ORDER BY xid keeps the planner on that index however stale its statistics are.
WITH fresh AS (
    (SELECT {columns}, {size} AS size
     FROM {schema}.events
     WHERE shard = $1 AND xid >= $2::text::xid8 AND xid < pg_snapshot_xmax(pg_current_snapshot())
     ORDER BY xid
     LIMIT $3)
    {late}
),
measured AS (
    SELECT *,
           count(*) OVER () AS found,
           sum(size) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) - size AS bytes_before
    FROM fresh
)
SELECT {output}, now.snapshot, m.found
FROM (SELECT pg_current_snapshot()::text AS snapshot) now
LEFT JOIN measured m ON m.bytes_before < $4
ORDER BY m.position
