-- The comment on the view that events are found by words through, and whether a role may read it.
--   $1 schema   $2 name of the view   $3 the role; one that is not there may not
SELECT obj_description(c.oid, 'pg_class') AS comment,
       pg_get_viewdef(c.oid) LIKE '%outbox.tenant%' AS hides,
       coalesce(has_table_privilege(r.oid, c.oid, 'SELECT'), false) AS readable
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_roles r ON r.rolname = $3
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind = 'v'
