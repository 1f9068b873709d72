-- First and last position and number of the window's rows after a position: once per window that
-- is larger than a page. Aggregated over the (shard, xid) index; nothing is sorted.
--   $1 shard   $2 xmax of S1   $3 xids that were open in S1   $4 S2   $5 position already done
SELECT min(position) AS first, max(position) AS last, count(*) AS rows
FROM (
    SELECT position
    FROM {schema}.events
    WHERE shard = $1 AND xid >= $2::text::xid8
      AND position > $5 AND pg_visible_in_snapshot(xid, $4::text::pg_snapshot)
    UNION ALL
    SELECT position
    FROM {schema}.events
    WHERE shard = $1 AND xid = ANY ($3::text[]::xid8[])
      AND position > $5 AND pg_visible_in_snapshot(xid, $4::text::pg_snapshot)
) span
