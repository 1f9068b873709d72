-- Which of these rows the cursor does not account for.
--   $1 shard   $2 xmax of S1   $3 xids that were open in S1   $4 xmax of S2, or NULL: no window
--   $5 xids that were open in S2   $6 position done in that window   $7 positions
SELECT position
FROM {schema}.events
WHERE shard = $1 AND position = ANY ($7::bigint[])
  AND (xid >= $2::text::xid8 OR xid = ANY ($3::text[]::xid8[]))
  AND ($4::text IS NULL OR position > $6 OR xid >= $4::text::xid8
       OR xid = ANY ($5::text[]::xid8[]))
