-- A part of relay_poll.sql: rows of transactions that began after S1.
(SELECT {columns}
 FROM {schema}.events
 WHERE shard = $1 AND xid >= $2::text::xid8 AND xid < pg_snapshot_xmax(pg_current_snapshot())
 ORDER BY xid
 LIMIT $3)
