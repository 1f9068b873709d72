-- Write dead letters as new events, in their old order, and take them off the table.
--   $1 positions
WITH released AS (
    DELETE FROM {schema}.dead_letters WHERE position = ANY ($1::bigint[]) RETURNING *
), renewed AS MATERIALIZED (
    SELECT position AS was, gen_random_uuid() AS id, event_type, partition_key, routing_key, payload,
           headers, created_at
    FROM released
    ORDER BY position
), written AS (
    INSERT INTO {schema}.events
        (event_id, event_type, partition_key, routing_key, payload, headers, created_at)
    SELECT id, event_type, partition_key, routing_key, payload, headers, created_at
    FROM renewed
    ORDER BY was
)
SELECT was, id::text FROM renewed ORDER BY was
