-- The next rows of a window in order of position, cut by number; relay_page_cut.sql cuts them by bytes.
--   $1 shard   $2 xmax of S1   $3 xids that were open in S1   $4 xmax of S2
--   $5 xids that were open in S2   $6 position already done   $7 position to stop at   $8 rows
--   $9 bytes   $10 largest row that is sent whole
-- Walks the primary key. The bounds stand in subqueries to be converted once, not for every row.
SELECT {columns}
FROM {schema}.events
WHERE shard = $1 AND position > $6 AND position <= $7
  AND (xid >= (SELECT $2::text::xid8)
       OR xid = ANY ((SELECT $3::text[]::xid8[])::xid8[]))
  AND xid < (SELECT $4::text::xid8)
  AND xid <> ALL ((SELECT $5::text[]::xid8[])::xid8[])
ORDER BY position
LIMIT $8
