-- Rows whose time no stream has, and no seal covers.
--   $1 how many at most
SELECT id::text AS id, type, stored_at::text AS stored_at
FROM {schema}.events WHERE NOT ({in_time})
LIMIT $1
