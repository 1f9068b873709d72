-- The first row at a position or behind it.
--   $1 position
SELECT position, {readable(created_at)} AS created_at
FROM {schema}.events
WHERE position >= $1
ORDER BY position
LIMIT 1
