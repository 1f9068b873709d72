-- Seconds since a partition came into use: since the oldest of its first rows was written. A single
-- one may have whatever time its writer gave it.
SELECT extract(epoch FROM clock_timestamp() - min({readable(o.created_at)}))::float8
FROM (SELECT created_at FROM {table} ORDER BY position LIMIT 100) o
