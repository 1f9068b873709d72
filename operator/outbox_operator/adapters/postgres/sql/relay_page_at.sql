-- Rows at given positions, in their order, cut by bytes: those of a shard are read without walking
-- over all that lies between. By the first and the last the server knows the partitions that have any.
--   $1 positions, in order   $2 bytes   $3 largest row that is sent whole
SELECT {output}
FROM (
    SELECT *, {texts}
    FROM (
        SELECT *, sum({size}) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) - {size} AS bytes_before
        FROM (
            SELECT {columns}
            FROM {schema}.events
            WHERE position = ANY ($1::bigint[])
              AND position BETWEEN ($1::bigint[])[1] AND ($1::bigint[])[cardinality($1::bigint[])]
            OFFSET 0
        ) page
    ) m
    WHERE m.bytes_before < $2
    ORDER BY m.position
    OFFSET 0
) r
ORDER BY r.position
