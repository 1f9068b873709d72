-- Like relay_span.sql, with the positions, in no order, if there are not many rows, and an answer just
-- as soon if there are more.
--   $1 shard   $2 xid to begin with   $3 xid to end before   $4 xids that were open in S2
--   $5 position already done   $6 most rows
SELECT min(e.position) AS first, max(e.position) AS last, count(*) AS rows,
       array_agg(e.position) AS positions
FROM (
    SELECT e.position
    FROM {ranges}
    CROSS JOIN LATERAL (
        SELECT position
        FROM {schema}.events
        WHERE shard = $1 AND xid > range.after AND xid < range.before AND position > $5
        OFFSET 0
    ) e
    LIMIT $6::bigint + 1
) e
