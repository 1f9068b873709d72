-- First and last position and number of the rows of a window by transactions that began after S1,
-- as far as xids go from $2 to below $3: for windows that are larger than a page.
-- Aggregated over the (shard, xid) index; nothing is sorted.
--   $1 shard   $2 xid to begin with   $3 xid to end before   $4 xids that were open in S2
--   $5 position already done
SELECT min(e.position) AS first, max(e.position) AS last, count(*) AS rows
FROM {ranges}
{walk}
WHERE e.position > $5
