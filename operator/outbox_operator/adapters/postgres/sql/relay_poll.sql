-- Everything that became visible since snapshot S1, and the snapshot of this very statement, S2.
-- In READ COMMITTED both come from the same snapshot, so what is in S2 is also in the result.
--   $1 shard   $2 xmax of S1   $3 rows wanted plus one   $4 bytes   $5 largest row that is sent
--   whole   $6 xids that were open in S1, if there were any
-- A transaction is invisible to S1 when it is one of $6 or not below $2: two index ranges of
-- (shard, xid). The first is relay_poll_late.sql, left out where no transaction was open: it would
-- be a third of what an idle poll costs. The second is relay_poll_fresh.sql, or
-- relay_poll_between.sql where transactions may have been under way for long.
-- A transaction that this server has not reached yet belongs to another one (rows that were
-- restored); without the upper bound its rows would be found again by every poll.
-- ORDER BY xid keeps the planner on that index however stale its statistics are. Rows of a
-- transaction that is under way are in that index too, and it takes a look at each to know that it
-- is not to be seen: so whether a transaction has ended is asked first, wherever there may be many.
WITH fresh AS (
    {fresh}
    {late}
),
measured AS (
    SELECT *,
           count(*) OVER () AS found,
           sum({size}) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) - {size} AS bytes_before
    FROM fresh
)
SELECT {output}, now.snapshot, r.found, now.owner_epoch
FROM ({now}) now
LEFT JOIN (
    SELECT *, {texts}
    FROM measured m
    WHERE m.bytes_before < $4
    ORDER BY m.position
    OFFSET 0
) r ON true
ORDER BY r.position
