-- A part of relay_poll.sql: rows of transactions that were open in S1 and have committed.
-- BETWEEN where = would do keeps the planner on the index: to it one xid may well be all rows.
UNION ALL
(SELECT late.*
 FROM unnest($6::text[]::xid8[]) AS open (xid)
 CROSS JOIN LATERAL (
     SELECT {columns}
     FROM {schema}.events
     WHERE shard = $1 AND xid BETWEEN open.xid AND open.xid
     ORDER BY xid
     LIMIT $3
 ) late
 WHERE CASE WHEN pg_visible_in_snapshot(open.xid, (SELECT pg_current_snapshot()))
            THEN pg_xact_status(open.xid) IS DISTINCT FROM 'aborted' ELSE false END
 LIMIT $3)
