-- The xid behind so many rows: cuts the counting of a huge window into statements that end soon.
--   $1 shard   $2 xid to begin with   $3 xid to end before   $4 rows
SELECT e.xid::text
FROM {schema}.events e
WHERE e.shard = $1 AND e.xid >= $2::text::xid8 AND e.xid < $3::text::xid8
ORDER BY e.xid
OFFSET $4
LIMIT 1
