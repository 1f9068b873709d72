-- Write dead letters as new rows, in their old order, and take them off the table. They were never
-- published, so each keeps its id. Their first rows are still there: the note says that these were not.
--   $1 positions, JSON, or the key
WITH released AS (
    DELETE FROM {schema}.dead_letters
    WHERE {these}
    RETURNING *
), written AS (
    INSERT INTO {schema}.events
        (event_id, event_type, partition_key, routing_key, payload, headers, created_at, replay)
    SELECT event_id, event_type, partition_key, routing_key, payload, headers, created_at, replay
    FROM released
    ORDER BY position
), noted AS (
    INSERT INTO {schema}.former_dead_letters (position, released)
    SELECT position, true FROM released
    ON CONFLICT (position) DO UPDATE SET released = excluded.released, since = excluded.since
)
SELECT position FROM released ORDER BY position
