-- The positions of all rows of a window by transactions that began after S1, in no order; null if these
-- are many, and just as soon. Rows that are done count as well: they are looked at, too.
--   $1 shard   $2 xid to begin with   $3 xid to end before   $4 xids that were open in S2
--   $5 position already done   $6 most rows
SELECT CASE WHEN count(*) <= $6
            THEN coalesce(array_agg(e.position) FILTER (WHERE e.position > $5), '{}') END AS positions
FROM (
    SELECT e.position
    FROM {ranges}
    {walk}
    LIMIT $6::bigint + 1
) e
