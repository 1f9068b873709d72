-- What the process that answers questions needs to know of an archive and of its own login.
--   $1 schema   $2 name of the table of events   $3 of the log   $4 of the view that is searched, all qualified
SELECT ARRAY(SELECT a.attname::text
             FROM pg_catalog.pg_class e
             JOIN pg_catalog.pg_attribute a ON a.attrelid = e.oid AND a.attnum > 0
             WHERE e.relnamespace = n.oid AND e.relname = 'events') AS columns,
       r.rolsuper OR r.rolbypassrls AS sees_everything,
       coalesce(has_table_privilege(to_regclass($2), 'INSERT, UPDATE, DELETE, TRUNCATE'), false)
           AS writes,
       coalesce(has_table_privilege(to_regclass($2), 'SELECT'), false) AS reads,
       coalesce(has_table_privilege(to_regclass($3), 'INSERT'), false) AS logs,
       coalesce(row_security_active(to_regclass($2)), false) AND EXISTS (
           SELECT FROM pg_catalog.pg_policies p
           WHERE p.schemaname = $1 AND p.tablename = 'events' AND p.permissive = 'RESTRICTIVE'
             AND p.cmd IN ('SELECT', 'ALL') AND r.rolname = ANY (p.roles)
             AND p.qual LIKE '%outbox.tenant%') AS by_tenant,
       coalesce(has_table_privilege(to_regclass($4), 'SELECT'), false) AS searches,
       coalesce(pg_get_viewdef(to_regclass($4)) LIKE '%outbox.tenant%', false) AS searches_by_tenant
FROM pg_catalog.pg_roles r
LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = $1
WHERE r.rolname = current_user
