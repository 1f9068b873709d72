-- One batch of handled events that are older than they must be kept.
--   $1 consumer   $2 seconds a row is kept   $3 rows
WITH doomed AS (
    SELECT event_id
    FROM {schema}.consumer_inbox
    WHERE consumer_name = $1 AND consumed_at < clock_timestamp() - make_interval(secs => $2::float8)
    ORDER BY consumed_at
    LIMIT $3
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM {schema}.consumer_inbox i USING doomed d
    WHERE i.consumer_name = $1 AND i.event_id = d.event_id
    RETURNING 1
)
SELECT count(*) FROM gone
