-- Everything the catalog says about our objects, as one JSON document. Needs no right at all.
--   {named} schema   {arguments} types of the arguments of functions
--   $1 names of tables   $2 name of the sequence   $3 names of functions
--   $4 name of the trigger's function   $5 name of the trigger
WITH ours AS (
    SELECT c.oid, c.relname, c.relkind, c.relowner
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = {named} AND c.relname = ANY ($1::text[])
)
SELECT jsonb_build_object(
    'server_version', current_setting('server_version_num')::integer,
    'database', current_database(),
    'role', current_user,
    'may_create_schema', has_database_privilege(current_database(), 'CREATE'),
    'schema', (
        SELECT jsonb_build_object(
            'owner', pg_get_userbyid(n.nspowner),
            'owned', pg_has_role(n.nspowner, 'USAGE'),
            'may_create', has_schema_privilege(n.oid, 'CREATE'),
            'comment', obj_description(n.oid, 'pg_namespace'))
        FROM pg_catalog.pg_namespace n
        WHERE n.nspname = {named}
    ),
    'tables', (
        SELECT jsonb_object_agg(o.relname, jsonb_build_object(
            'kind', o.relkind::text,
            'owner', pg_get_userbyid(o.relowner),
            'owned', pg_has_role(o.relowner, 'USAGE'),
            'partition_key', CASE WHEN o.relkind = 'p' THEN pg_get_partkeydef(o.oid) END,
            'has_default_partition', EXISTS (
                SELECT FROM pg_catalog.pg_partitioned_table p
                WHERE p.partrelid = o.oid AND p.partdefid <> 0),
            'partitions', (
                SELECT jsonb_agg(p.relname ORDER BY p.relname)
                FROM pg_catalog.pg_inherits h
                JOIN pg_catalog.pg_class p ON p.oid = h.inhrelid
                WHERE h.inhparent = o.oid AND o.relkind = 'p'),
            'checks', (
                SELECT jsonb_object_agg(s.conname, pg_get_constraintdef(s.oid))
                FROM pg_catalog.pg_constraint s
                WHERE s.conrelid = o.oid AND s.contype = 'c'),
            'primary_key', (
                SELECT jsonb_agg(a.attname ORDER BY k.number)
                FROM pg_catalog.pg_constraint s,
                     unnest(s.conkey) WITH ORDINALITY AS k (attnum, number),
                     pg_catalog.pg_attribute a
                WHERE s.conrelid = o.oid AND s.contype = 'p'
                  AND a.attrelid = o.oid AND a.attnum = k.attnum),
            'columns', (
                SELECT jsonb_object_agg(a.attname, jsonb_build_object(
                    'type', format_type(a.atttypid, a.atttypmod),
                    'not_null', a.attnotnull,
                    'default', pg_get_expr(d.adbin, d.adrelid),
                    'generated', a.attidentity <> '' OR a.attgenerated <> ''))
                FROM pg_catalog.pg_attribute a
                LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = o.oid AND d.adnum = a.attnum
                WHERE a.attrelid = o.oid AND a.attnum > 0 AND NOT a.attisdropped)))
        FROM ours o
    ),
    'indexes', (
        SELECT jsonb_object_agg(i.relname, jsonb_build_object(
            'table', o.relname,
            'valid', x.indisvalid AND x.indpred IS NULL,
            'columns', (
                SELECT jsonb_agg(pg_get_indexdef(x.indexrelid, n, false) ORDER BY n)
                FROM generate_series(1, x.indnkeyatts) n)))
        FROM ours o
        JOIN pg_catalog.pg_index x ON x.indrelid = o.oid
        JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
    ),
    'sequence', (
        SELECT jsonb_build_object(
            'cache', s.seqcache, 'increment', s.seqincrement, 'minimum', s.seqmin,
            'maximum', s.seqmax, 'cycle', s.seqcycle)
        FROM pg_catalog.pg_sequence s
        JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = {named} AND c.relname = $2
    ),
    'functions', (
        SELECT jsonb_object_agg(p.proname, p.prosrc)
        FROM pg_catalog.pg_proc p
        JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = {named} AND p.proname = ANY ($3::text[])
          AND oidvectortypes(p.proargtypes) = {arguments}
    ),
    'wakeup_source', (
        SELECT p.prosrc
        FROM pg_catalog.pg_proc p
        JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = {named} AND p.proname = $4 AND p.pronargs = 0
    ),
    'wakeup_trigger', (
        SELECT t.tgenabled IN ('O', 'A')
        FROM pg_catalog.pg_trigger t
        JOIN ours o ON o.oid = t.tgrelid
        WHERE t.tgname = $5
    )
)::text
