-- Rows at given positions; relay_page_cut.sql orders them and cuts them by bytes. Those of a shard are
-- read without walking over all that lies between. By the first and the last the server knows the
-- partitions that have any.
--   $1 positions, in order   $2 bytes   $3 largest row that is sent whole
SELECT {columns}
FROM {schema}.events
WHERE position = ANY ($1::bigint[])
  AND position BETWEEN ($1::bigint[])[1] AND ($1::bigint[])[cardinality($1::bigint[])]
OFFSET 0
