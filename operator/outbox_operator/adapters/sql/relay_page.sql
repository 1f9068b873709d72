-- The next rows of an open window in order of position, cut by number and by bytes.
--   $1 shard   $2 xmax of S1   $3 xids that were open in S1   $4 S2
--   $5 position already done   $6 last position of the window   $7 rows   $8 bytes
--   $9 largest row that is sent whole
-- Walks the primary key. Sizes are summed before payloads are fetched, and large values pass
-- the window function as references, so neither side ever holds more than a page.
SELECT m.found, {output}
FROM (
    SELECT *,
           count(*) OVER () AS found,
           sum(size) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) - size AS bytes_before
    FROM (
        SELECT {columns}, {size} AS size
        FROM {schema}.events
        WHERE shard = $1 AND position > $5 AND position <= $6
          AND (xid >= $2::text::xid8 OR xid = ANY ($3::text[]::xid8[]))
          AND pg_visible_in_snapshot(xid, $4::text::pg_snapshot)
        ORDER BY position
        LIMIT $7
    ) page
) m
WHERE m.bytes_before < $8
ORDER BY m.position
