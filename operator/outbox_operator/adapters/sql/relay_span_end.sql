-- The xid behind so many rows: cuts the counting of a huge window into statements that end soon.
--   $1 shard   $2 xid to begin with   $3 xid to end before   $4 rows
SELECT xid::text
FROM {schema}.events
WHERE shard = $1 AND xid >= $2::text::xid8 AND xid < $3::text::xid8
ORDER BY xid
OFFSET $4
LIMIT 1
