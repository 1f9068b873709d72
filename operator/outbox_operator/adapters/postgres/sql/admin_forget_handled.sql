-- One batch of events that a consumer has handled since a time.
--   $1 consumer   $2 since; NULL: all   $3 rows
WITH doomed AS (
    SELECT event_id
    FROM {schema}.consumer_inbox
    WHERE consumer_name = $1 AND ($2::timestamptz IS NULL OR consumed_at >= $2)
    LIMIT $3
), gone AS (
    DELETE FROM {schema}.consumer_inbox i USING doomed d
    WHERE i.consumer_name = $1 AND i.event_id = d.event_id
    RETURNING 1
)
SELECT count(*) FROM gone
