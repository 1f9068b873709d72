-- Seconds since the oldest row of a partition was written.
SELECT extract(epoch FROM clock_timestamp() - created_at)::float8
FROM {table}
ORDER BY position
LIMIT 1
