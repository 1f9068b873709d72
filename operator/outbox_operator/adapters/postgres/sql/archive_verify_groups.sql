-- Where the rows are that were archived between two moments.
--   $1, $2 from when, and before when
SELECT class, to_timestamp(slot) AS low, rows, id::text AS id
FROM (
    SELECT class, floor(extract(epoch FROM stored_at) / {slot})::bigint * {slot} AS slot,
           count(*) AS rows, (array_agg(id ORDER BY stored_at, id))[1] AS id
    FROM {schema}.events
    WHERE archived_at >= $1 AND archived_at < $2 AND {in_time}
    GROUP BY class, slot
) s
ORDER BY class, slot
