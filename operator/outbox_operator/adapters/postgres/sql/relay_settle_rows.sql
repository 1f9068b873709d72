-- Dead letters that the cursor is still before: they are accounted for, so give their rows a
-- transaction that each point has seen.
--   $1 positions
UPDATE {schema}.events
SET xid = '0'::xid8
WHERE position = ANY ($1::bigint[])
