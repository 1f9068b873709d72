-- The tables of an archive's classes, a row for each of their partitions. NULL bounds: the default.
--   $1 schema
SELECT (regexp_match(pg_get_expr(c.relpartbound, c.oid), $r$IN \('(.*)'\)$r$))[1] AS class,
       obj_description(c.oid, 'pg_class') AS comment,
       l.relname::text AS leaf,
       b.bounds[1]::timestamptz AS low, b.bounds[2]::timestamptz AS high
FROM pg_catalog.pg_namespace n
JOIN pg_catalog.pg_class e ON e.relnamespace = n.oid AND e.relname = 'events'
JOIN pg_catalog.pg_inherits i ON i.inhparent = e.oid
JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
LEFT JOIN pg_catalog.pg_inherits j ON j.inhparent = c.oid
LEFT JOIN pg_catalog.pg_class l ON l.oid = j.inhrelid
LEFT JOIN LATERAL (
    -- Printed and read in one session, so its time zone does not matter.
    SELECT regexp_match(
        pg_get_expr(l.relpartbound, l.oid), $r$FROM \('([^']+)'\) TO \('([^']+)'\)$r$)
) b (bounds) ON true
WHERE n.nspname = $1
ORDER BY class, comment, low NULLS LAST
