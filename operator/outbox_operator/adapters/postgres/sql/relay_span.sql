-- First and last position and number of the rows of a window by transactions that began after S1,
-- as far as xids go from $2 to below $3: for windows that are larger than a page.
-- Aggregated over the (shard, xid) index; nothing is sorted. OFFSET 0 keeps the planner from reading
-- all rows of the shard once instead of a range of them for each xid.
--   $1 shard   $2 xid to begin with   $3 xid to end before   $4 xids that were open in S2
--   $5 position already done
SELECT min(e.position) AS first, max(e.position) AS last, count(*) AS rows
FROM {ranges}
CROSS JOIN LATERAL (
    SELECT position
    FROM {schema}.events
    WHERE shard = $1 AND xid > range.after AND xid < range.before AND position > $5
    OFFSET 0
) e
