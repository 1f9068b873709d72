-- Which of some roles exist, which of some rights they have, directly or through others, and which
-- database this is.
--   $1 roles   $2..$7 rights: schema, role, kind, object, privilege, column
-- Objects that are not there yield NULL, which is no right. As JSON, which the guard lets through.
WITH wanted AS (
    SELECT w.*, r.oid AS role_oid, n.oid AS schema_oid, c.oid AS relation_oid, a.attnum
    FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[]) WITH ORDINALITY
             AS w (schema, role, kind, object, privilege, col, number)
    JOIN pg_catalog.pg_roles r ON r.rolname = w.role
    LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
    LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.object
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = w.col
)
SELECT
    to_json(ARRAY(SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolname = ANY ($1::text[]))) AS roles,
    to_json(ARRAY(
        SELECT number
        FROM wanted
        WHERE CASE kind
            WHEN 'schema' THEN has_schema_privilege(role_oid, schema_oid, privilege)
            WHEN 'table' THEN has_table_privilege(role_oid, relation_oid, privilege)
            WHEN 'column' THEN has_column_privilege(role_oid, relation_oid, attnum, privilege)
            WHEN 'sequence' THEN has_sequence_privilege(role_oid, relation_oid, privilege)
            WHEN 'function' THEN EXISTS (
                SELECT FROM pg_catalog.pg_proc p
                WHERE p.pronamespace = schema_oid
                  AND p.proname || '(' || oidvectortypes(p.proargtypes) || ')' = object
                  AND has_function_privilege(role_oid, p.oid, privilege))
        END
    )) AS granted,
    ({identity}) AS identity
