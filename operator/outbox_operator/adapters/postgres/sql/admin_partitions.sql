-- The partitions of the events table. NULL bounds: the default one.
--   $1 schema   $2 table   $3 name of the check that an interrupted round may have left
SELECT p.relname::text AS name, b.bounds[1]::bigint AS low, b.bounds[2]::bigint AS high,
       obj_description(p.oid, 'pg_class') AS comment,
       EXISTS (
           SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = p.oid AND k.conname = $3
       ) AS has_gap_check
FROM pg_catalog.pg_namespace n
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = $2
JOIN pg_catalog.pg_inherits i ON i.inhparent = c.oid
JOIN pg_catalog.pg_class p ON p.oid = i.inhrelid
LEFT JOIN LATERAL (
    SELECT regexp_match(
        pg_get_expr(p.relpartbound, p.oid), $r$FROM \('?(-?\d+)'?\) TO \('?(-?\d+)'?\)$r$)
) b (bounds) ON true
WHERE n.nspname = $1
ORDER BY low NULLS LAST
