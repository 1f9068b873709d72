-- Copies of a replay that ended among the dead letters: how many, and the first of them.
--   $1 name   $2 rows
SELECT d.position, d.event_id::text, d.reason, left(d.error, 300) AS error, count(*) OVER () AS found
FROM {schema}.dead_letters d
WHERE d.replay ->> 'name' = $1
ORDER BY d.position
LIMIT $2
