-- A part of relay_poll.sql, in place of relay_poll_fresh.sql: passes over the transactions that are
-- still under way, which may have written any number of rows. Costs a tenth more.
(SELECT found.*
 FROM (SELECT ARRAY(SELECT x FROM pg_snapshot_xip(pg_current_snapshot()) AS o (x)
                    WHERE x >= $2::text::xid8) AS xids) open
 CROSS JOIN LATERAL unnest(
     ($2::text::bigint - 1)::text::xid8 || open.xids,
     open.xids || pg_snapshot_xmax(pg_current_snapshot())
 ) AS range (after, before)
 CROSS JOIN LATERAL (
     SELECT {columns}
     FROM {schema}.events
     WHERE shard = $1 AND xid > range.after AND xid < range.before
     ORDER BY xid
     LIMIT $3
 ) found
 LIMIT $3)
