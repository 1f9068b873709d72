-- The last row.
SELECT position, {readable(created_at)} AS created_at
FROM {schema}.events
ORDER BY position DESC
LIMIT 1
