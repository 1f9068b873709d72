-- What is known of an outbox that an archive begins with, as one row; no columns: there is none.
--   $1 schema   $2 its tables, qualified: events, dead letters, former dead letters
SELECT obj_description(n.oid, 'pg_namespace') AS comment,
       (SELECT pg_catalog.format_type(a.atttypid, a.atttypmod)
        FROM pg_catalog.pg_class e
        JOIN pg_catalog.pg_attribute a ON a.attrelid = e.oid AND a.attname = 'payload'
        WHERE e.relnamespace = n.oid AND e.relname = 'events') AS payload,
       EXISTS (SELECT FROM pg_catalog.pg_class e
               JOIN pg_catalog.pg_attribute a ON a.attrelid = e.oid AND a.attname = 'replay'
               WHERE e.relnamespace = n.oid AND e.relname = 'events') AS current,
       coalesce(has_schema_privilege(n.oid, 'USAGE'), false)
           AND NOT EXISTS (SELECT FROM unnest($2::text[]) t
                           WHERE to_regclass(t) IS NULL
                              OR NOT has_table_privilege(to_regclass(t), 'SELECT')) AS reads
FROM (SELECT) one
LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = $1
