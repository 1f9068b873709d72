-- What the server says of itself and of its sessions, as one JSON document. Needs no right at all; of
-- sessions of other roles it says less without pg_read_all_stats.
--   $1 roles that log in for us   $2 seconds after which a transaction is long   $3 how many to name
WITH sessions AS (
    SELECT pid, usename, application_name, state, query, backend_xmin,
           extract(epoch FROM clock_timestamp() - xact_start) AS seconds
    FROM pg_catalog.pg_stat_activity
    WHERE datname IS NOT NULL AND pid <> pg_backend_pid()
      AND coalesce(backend_type, 'client backend') = 'client backend'
)
SELECT json_build_object(
    'database', current_database(),
    'connections', (SELECT count(*) + 1 FROM sessions),
    'most', current_setting('max_connections')::integer
            - current_setting('superuser_reserved_connections')::integer,
    'settings', json_build_object(
        'fsync', current_setting('fsync'),
        'full_page_writes', current_setting('full_page_writes'),
        'synchronous_commit', current_setting('synchronous_commit')),
    'roles', (
        SELECT json_agg(json_build_object(
            'name', r.rolname, 'limit', r.rolconnlimit,
            'ends', CASE WHEN isfinite(r.rolvaliduntil) THEN extract(epoch FROM r.rolvaliduntil) END,
            'uses', (SELECT count(*) FROM sessions s WHERE s.usename = r.rolname)) ORDER BY r.rolname)
        FROM pg_catalog.pg_roles r
        WHERE r.rolname = ANY ($1::text[])),
    'transactions', (
        SELECT json_agg(json_build_object(
            'pid', o.pid, 'user', o.usename, 'application', o.application_name, 'state', o.state,
            'seconds', o.seconds, 'holds', o.backend_xmin IS NOT NULL) ORDER BY o.seconds DESC)
        FROM (SELECT * FROM sessions WHERE seconds >= $2 ORDER BY seconds DESC LIMIT $3) o),
    'hidden', (SELECT count(*) FROM sessions WHERE query = '<insufficient privilege>'),
    'prepared', (
        SELECT json_agg(json_build_object(
            'gid', p.gid, 'owner', p.owner, 'database', p.database,
            'seconds', extract(epoch FROM clock_timestamp() - p.prepared)))
        FROM (SELECT * FROM pg_catalog.pg_prepared_xacts
              WHERE extract(epoch FROM clock_timestamp() - prepared) >= $2
              ORDER BY prepared LIMIT $3) p),
    'slots', (
        SELECT json_agg(json_build_object(
            'name', s.slot_name, 'holds', s.xmin IS NOT NULL OR s.catalog_xmin IS NOT NULL,
            'kept_bytes', pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)::bigint))
        FROM (SELECT * FROM pg_catalog.pg_replication_slots
              WHERE NOT active AND NOT temporary
              ORDER BY slot_name LIMIT $3) s))
