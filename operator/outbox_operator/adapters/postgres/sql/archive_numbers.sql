-- How much an archive holds, since when, and how far the numbers of shards are known.
--   $1 schema
WITH leaves AS (
    SELECT i.inhrelid AS leaf, c.relname LIKE 'rows\_%\_default' AS unpartitioned,
           greatest(c.reltuples, 0) AS known
    FROM pg_catalog.pg_inherits i
    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relkind = 'r'
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $1
), sizes AS (
    SELECT l.unpartitioned,
           pg_catalog.pg_total_relation_size(l.leaf) AS bytes,
           -- What is counted is lost when a server crashes; rows of a partition stay, all of them.
           greatest(coalesce(pg_catalog.pg_stat_get_live_tuples(l.leaf), 0),
                    CASE WHEN l.unpartitioned THEN 0 ELSE l.known::bigint END) AS rows
    FROM leaves l
)
SELECT (SELECT coalesce(sum(rows), 0)::bigint FROM sizes) AS rows,
       (SELECT coalesce(sum(bytes), 0)::bigint FROM sizes) AS bytes,
       (SELECT count(*) FROM sizes) AS partitions,
       (SELECT coalesce(sum(rows), 0)::bigint FROM sizes WHERE unpartitioned) AS unpartitioned,
       (SELECT min(stored_at) FROM {schema}.events) AS oldest,
       (SELECT max(stored_at) FROM {schema}.events) AS newest,
       (SELECT count(*) FROM (SELECT DISTINCT source, shard FROM {schema}.ledger) s) AS shards,
       (SELECT max(high_at) FROM {schema}.ledger) AS numbered_to,
       (SELECT count(*) FROM {schema}.gaps) AS gaps
