-- The same as relay_span.sql for transactions that were open in S1 and committed before S2, and their
-- positions below $5, unless these are more than $6.
--   $1 shard   $2 xids that were open in S1   $3 xids that were open in S2
--   $4 position already done   $5 first position of the others   $6 most positions
WITH late AS MATERIALIZED (
    SELECT e.position
    FROM unnest($2::text[]::xid8[]) AS open (xid)
    CROSS JOIN LATERAL (
        SELECT position
        FROM {schema}.events
        WHERE shard = $1 AND xid BETWEEN open.xid AND open.xid AND position > $4
        ORDER BY xid
    ) e
    WHERE open.xid <> ALL ($3::text[]::xid8[])
      AND pg_xact_status(open.xid) IS DISTINCT FROM 'aborted'
)
SELECT min(position) AS first, max(position) AS last, count(*) AS rows,
       CASE WHEN count(*) FILTER (WHERE position < $5) <= $6
            THEN ARRAY(SELECT position FROM late WHERE position < $5 ORDER BY position) END
           AS positions
FROM late
