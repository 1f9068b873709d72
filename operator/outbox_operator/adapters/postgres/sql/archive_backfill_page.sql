-- The next rows of an outbox, cut by bytes, one at least. Without a payload: what was never published,
-- or is there once more because it was sent again (and not if what was sent again is gone), or is more than any server takes for a message.
--   $1 behind this position   $2 up to this one   $3 rows   $4 bytes   $5 bytes of the largest
-- Sizes are summed before payloads are fetched. A row may say that it was made at any time; it was written
-- by now, and no partition is of a time before 1970.
SELECT position, event_id::text AS event_id, event_type, partition_key, routing_key, headers::text AS headers,
       least(greatest(coalesce(happened, date_part('epoch', created_at) * 1e6), {first_time}), {last_time})::bigint AS created_at,
       least(greatest(date_part('epoch', least(created_at, clock_timestamp())) * 1e6, 0), {last_time})::bigint
           AS written_at,
       CASE WHEN chosen THEN {payload} END AS payload
FROM (
    SELECT *, sum(size) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) - size AS before
    FROM (
        SELECT *, CASE WHEN chosen THEN bytes ELSE 0 END AS size
        FROM (
            SELECT e.*, s.bytes, c.happened,
                   (e.replay IS NULL OR NOT EXISTS (
                       SELECT FROM {schema}.events o WHERE o.position = c.of))
                   AND s.bytes <= $5
                   AND NOT EXISTS (
                       SELECT FROM {schema}.dead_letters d WHERE d.position = e.position)
                   AND NOT EXISTS (
                       SELECT FROM {schema}.former_dead_letters f WHERE f.position = e.position)
                       AS chosen
            FROM (
                SELECT * FROM {schema}.events
                WHERE position > $1 AND position <= $2
                ORDER BY position
                LIMIT $3
            ) e
            CROSS JOIN LATERAL (
                SELECT octet_length({payload}) + octet_length(e.headers::text) AS bytes
            ) s
            CROSS JOIN LATERAL (
                SELECT CASE WHEN e.replay->>'of' ~ '^[0-9]+$' AND length(e.replay->>'of') < 19
                            THEN (e.replay->>'of')::bigint END AS of,
                       CASE WHEN e.replay->>'time' ~ '^-?[0-9]+$' AND length(e.replay->>'time') < 19
                            THEN (e.replay->>'time')::float8 END AS happened
            ) c
        ) c
    ) m
) p
WHERE before < $4
ORDER BY position
