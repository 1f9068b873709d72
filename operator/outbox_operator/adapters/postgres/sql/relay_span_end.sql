-- The xid behind so many rows: cuts the counting of a huge window into statements that end soon.
--   $1 shard   $2 xid to begin with   $3 xid to end before
--   $4 xids that were open in S2   $5 rows
SELECT e.xid::text
FROM {ranges}
CROSS JOIN LATERAL (
    SELECT xid
    FROM {schema}.events
    WHERE shard = $1 AND xid > range.after AND xid < range.before
    ORDER BY xid
) e
OFFSET $5
LIMIT 1
