-- How many rows were archived between two moments, and when the first.
--   $1, $2 from when, and before when
SELECT count(*) AS rows, min(archived_at) AS first
FROM {schema}.events WHERE archived_at >= $1 AND archived_at < $2 AND {in_time}
