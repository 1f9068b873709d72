-- Whether policies hold for the table of events, and those of our names.
--   $1 schema   $2 names
SELECT c.relrowsecurity AS enabled, p.policyname::text AS name,
       p.permissive = 'RESTRICTIVE' AS restricts, p.cmd AS command,
       array_to_json(p.roles)::text AS roles, p.qual AS sees
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_policies p
    ON p.schemaname = n.nspname AND p.tablename = c.relname AND p.policyname = ANY ($2::text[])
WHERE n.nspname = $1 AND c.relname = 'events' AND c.relkind = 'p'
ORDER BY p.policyname
