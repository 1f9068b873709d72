-- Events of an archive, each as a line of JSON, with its place in the order of all, and how large all are up
-- to it. Cut by bytes, one at least: sizes are summed before payloads are fetched.
SELECT row_to_json(f)::text AS line, e.stored_at, e.sequence, e.id, e."#so_far" AS so_far
FROM (
    SELECT e.*, sum(e."#size") OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING) AS "#so_far"
    FROM (
        SELECT e.*, {size} AS "#size"
        FROM (
            SELECT {columns}
            FROM {table} e
            WHERE {conditions}
            ORDER BY {order}
            LIMIT {limit}
        ) e
        OFFSET 0  -- the size is computed once
    ) e
) e
CROSS JOIN LATERAL (SELECT {fields}) f
WHERE e."#so_far" - e."#size" < {bytes}
ORDER BY {order}
