-- How far the rows of outboxes are archived; what is in the way first.
SELECT source, began_at, up_to, position, rows, stored, moved_at, ended_at, problem
FROM {schema}.backfills
ORDER BY problem IS NULL, ended_at IS NOT NULL, began_at DESC
LIMIT 1
