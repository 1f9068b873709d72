-- Columns of an archive's events, in order.
--   $1 schema
SELECT a.attname::text AS name
FROM pg_catalog.pg_class e
JOIN pg_catalog.pg_namespace n ON n.oid = e.relnamespace AND n.nspname = $1
JOIN pg_catalog.pg_attribute a ON a.attrelid = e.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE e.relname = 'events'
ORDER BY a.attnum
