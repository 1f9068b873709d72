-- A part of admin_sample.sql and admin_unpublished.sql: transactions that are under way, in order.
-- Those that the snapshot does not list, since nothing later has ended, are in the table of locks,
-- where ids have 32 bits.
SELECT o.xid
FROM (SELECT x AS xid FROM pg_snapshot_xip(pg_current_snapshot()) AS o (x)
      UNION
      SELECT (n.next + ((l.transactionid::text::bigint - n.next) & 4294967295))::text::xid8
      FROM (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next) n
      CROSS JOIN pg_catalog.pg_locks l
      WHERE l.locktype = 'transactionid' AND l.granted AND l.mode = 'ExclusiveLock'
        AND ((l.transactionid::text::bigint - n.next) & 4294967295) < 2147483648) o
ORDER BY o.xid
