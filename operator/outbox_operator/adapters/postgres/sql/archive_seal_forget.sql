-- Forget the lists of rows that go with a partition; how many rows they had.
--   $1 class   $2, $3 from when, and before when the stream stored them
WITH gone AS (
    DELETE FROM {schema}.sealed_rows r
    USING {schema}.seals s
    WHERE s.number = r.seal AND s.kind = 'rows' AND s.class = $1 AND s.low >= $2 AND s.high <= $3
    RETURNING length(r.entries) AS bytes
)
SELECT coalesce(sum(bytes), 0)::bigint / {entry} FROM gone
