-- What the process that writes needs to know of an archive, as one row; no comment and columns: there is
-- none.
--   $1 schema
SELECT obj_description(n.oid, 'pg_namespace') AS comment,
       current_database()::text AS database,
       has_database_privilege(current_database(), 'TEMPORARY') AS may_stage,
       ARRAY(SELECT a.attname::text
             FROM pg_catalog.pg_class e
             JOIN pg_catalog.pg_attribute a ON a.attrelid = e.oid AND a.attnum > 0
             WHERE e.relnamespace = n.oid AND e.relname = 'events') AS columns,
       EXISTS (SELECT FROM pg_catalog.pg_class e
               JOIN pg_catalog.pg_constraint k ON k.conrelid = e.oid AND k.contype = 'p'
               JOIN pg_catalog.pg_attribute a ON a.attrelid = e.oid AND a.attnum = ANY (k.conkey)
               WHERE e.relnamespace = n.oid AND e.relname = 'events' AND a.attname = 'source')
           AS tells_sources_apart,
       ARRAY(SELECT (regexp_match(pg_get_expr(c.relpartbound, c.oid), $r$IN \('(.*)'\)$r$))[1]
             FROM pg_catalog.pg_class e
             JOIN pg_catalog.pg_inherits i ON i.inhparent = e.oid
             JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
             WHERE e.relnamespace = n.oid AND e.relname = 'events') AS classes
FROM (SELECT) one
LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = $1
