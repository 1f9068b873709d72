-- The comment on the schema: whose tables these are.
SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = $1
